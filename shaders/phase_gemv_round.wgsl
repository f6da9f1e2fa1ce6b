// y = U x + W conj(x), or of two stacked layers silu(first) second, for tokens in f32, each normalized if asked for and
// rounded to integers on the way: exact sums; one workgroup owns p.slots rows of a token, and rounds it for itself
// codes [piece_rows, words] of TERMS words; x [rows, in]; weight [in]; cells [cells, 1 + TERMS 2]; y [rows, outputs]

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<Codes>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> cells: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

// where result i goes, the real (even) or imaginary part of a row or a pair; NOWHERE if there is none
fn goal(i: u32, row: u32, token: u32) -> u32 {
    if row >= p.piece_rows {
        return NOWHERE;
    }
    let at = place(p, p.first_row + row);
    let to = select(at.y, at.z, i % 2u == 1u);
    return select(token * (p.outputs >> p.paired) + to, NOWHERE, to == NOWHERE);
}

@compute @workgroup_size(WIDTH)
fn phase_gemv_round(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let first = wg.x + wg.y * nwg.x;
    let groups = nwg.x * nwg.y;
    let results = (2u * p.slots) >> p.paired;
    let nearest = goal(index, row_of((index / 2u) << p.paired, first, groups), wg.z);
    var before = 0.0;
    if p.add == 1u && index < results && nearest != NOWHERE {
        before = y[nearest]; // travels while the sums are made
    }
    products(index, first, groups, wg.z);
    for (var i = index; i < results; i += WIDTH) {
        let slot = (i / 2u) << p.paired;
        let to = goal(i, row_of(slot, first, groups), wg.z);
        if to == NOWHERE {
            continue;
        }
        var gate = 0.0;
        var value = 0.0;
        for (var j = 0u; j <= p.paired; j++) {
            gate = value;
            value = slot_value(slot + j, i % 2u == 1u);
        }
        if p.paired == 1u {
            value *= gate * sigmoid(gate);
        }
        if p.add == 1u && i == index {
            value += before;
        } else if p.add == 1u {
            value += y[to];
        }
        y[to] = value;
    }
}
