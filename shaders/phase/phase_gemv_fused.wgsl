// y = U x + W conj(x), or of two stacked layers silu(first) second, for tokens in f32, each normalized if asked for and
// rounded to integers on the way: exact sums; one workgroup owns p.slots rows of a token, and rounds it for itself
// codes [piece_rows, words] of TERMS words; x [rows, in]; weight [in]; cells [cells, 1 + TERMS 2]; y [rows, outputs]
// tops [rows, parts]: bits of largest magnitudes, in pairs of what each workgroup made of a token, else (KNOWN) of x

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<Codes>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> cells: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read_write> tops: array<u32>;

override VALUES = 2u * MOST_SLOTS;

var<workgroup> values: array<f32, VALUES>; // of gate and up, side by side

// slot of value i and whether it is imaginary; in pairs, gate and up are neighbours
fn slot_of(i: u32) -> vec2<u32> {
    if p.paired == 1u {
        return vec2((i & 1u) + i / 4u * 2u, i / 2u % 2u);
    }
    return vec2(i / 2u, i % 2u);
}

// where the value of a row goes; NOWHERE if there is none
fn goal(row: u32, imaginary: bool, token: u32) -> u32 {
    if row >= p.piece_rows {
        return NOWHERE;
    }
    let at = place(p, p.first_row + row);
    let to = select(at.y, at.z, imaginary);
    return select(token * (p.outputs >> p.paired) + to, NOWHERE, to == NOWHERE);
}

// silu(gate) up of all pairs; the largest magnitude of this workgroup's
fn gate(index: u32, first: u32, groups: u32, token: u32) {
    for (var i = 2u * index; i < 2u * p.slots; i += 2u * WIDTH) {
        let slot = slot_of(i);
        let to = goal(row_of(slot.x, first, groups), slot.y == 1u, token);
        var value = 0.0;
        if to != NOWHERE {
            value = values[i + 1u] * (values[i] * sigmoid(values[i]));
            y[to] = value;
        }
        values[i] = value;
    }
    workgroupBarrier();
    var top = 0u;
    for (var pair = 0u; pair < p.slots; pair += TEAM) {
        let value = values[2u * min(pair + index % TEAM, p.slots - 1u)];
        top = max(top, bitcast<u32>(value) & 0x7fffffffu);
    }
    top = subgroupMax(top);
    if index == 0u && first < p.parts {
        tops[token * p.parts + first] = top;
    }
}

@compute @workgroup_size(WIDTH)
fn phase_gemv_fused(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let own = load_token(index, wg.z);
    let first = wg.x + wg.y * nwg.x;
    // a grid may have been rounded up; parts are of as many workgroups as there should be
    let groups = select(nwg.x * nwg.y, p.parts, p.paired == 1u);
    var before = 0.0;
    if p.add == 1u && index < 2u * p.slots {
        let slot = slot_of(index);
        let to = goal(row_of(slot.x, first, groups), slot.y == 1u, wg.z);
        if to != NOWHERE {
            before = y[to]; // travels while the sums are made
        }
    }
    products(index, first, groups, wg.z, own);
    for (var i = index; i < 2u * p.slots; i += WIDTH) {
        let slot = slot_of(i);
        let row = row_of(slot.x, first, groups);
        let to = goal(row, slot.y == 1u, wg.z);
        if to == NOWHERE {
            continue;
        }
        let value = slot_value(slot.x, row, slot.y == 1u);
        if p.paired == 1u {
            values[i] = value;
        } else if p.add == 0u {
            y[to] = value;
        } else if i == index {
            y[to] = value + before;
        } else {
            y[to] += value;
        }
    }
    if p.paired == 1u {
        workgroupBarrier();
        gate(index, first, groups, wg.z);
    }
}
