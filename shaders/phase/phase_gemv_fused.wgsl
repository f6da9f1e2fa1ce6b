// Computes: y = U x + W conj(x), with CONJ y = W conj(x), or two stacked layers gated (lib/gemv_gate.wgsl), for few tokens in f32
//           that are normalized if asked for and rounded to integers on the way; the sums are exact
// Inputs: codes, scales and tokens; with KNOWN the magnitudes `absmax_partials` that the dispatch before this one left, of which the
//         largest is that of the whole token. If layers are paired without CONJ, `absmax_partials` is written: a magnitude for
//         each workgroup
// Work split: one workgroup owns p.slots rows of one token, which it rounds for itself; a tile of TILE invocations shares a
//             row (lib/gemv_rows.wgsl)
// Shapes: codes [shard_rows, words] of PLANES words; x [rows, in]; weight [in]; scale_blocks [scale_blocks, 1 + PLANES * 2];
//         y [rows, outputs]; absmax_partials [rows, parts], as bits

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<Codes>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> scale_blocks: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read_write> absmax_partials: array<u32>;

override VALUES = 2u * MOST_SLOTS;

var<workgroup> values: array<f32, VALUES>; // of gate and up, side by side

fn normed() -> bool {
    return p.normed == 1u;
}

fn plane_words() -> u32 {
    return 4u * BYTE_PLANE;
}

fn put(plane: u32, word: u32, bytes: u32) {
    gemv_put(plane, word, bytes);
}

fn leave_totals(index: u32, own: vec2<i32>) {
    gemv_leave_totals(index, own);
}

// The slot of value i, and whether the value is imaginary (1); in pairs, gate and up are neighbours.
fn slot_of(i: u32) -> vec2<u32> {
    if p.gated == 1u {
        return vec2((i & 1u) + i / 4u * 2u, i / 2u % 2u);
    }
    return vec2(i / 2u, i % 2u);
}

// The index in y of the value of a row; NOWHERE if there is none.
fn dst_of(row: u32, imaginary: bool, token: u32) -> u32 {
    if row >= p.shard_rows {
        return NOWHERE;
    }
    let place = stack_place(p, p.first_row + row);
    let offset = select(place.y, place.z, imaginary);
    return select(token * (p.outputs >> p.gated) + offset, NOWHERE, offset == NOWHERE);
}

@compute @workgroup_size(WIDTH)
fn phase_gemv_fused(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let own = round_load_token(index, wg.z);
    let first = wg.x + wg.y * nwg.x;
    // A folded grid has more workgroups than asked for; p.n_absmax_partials is how many were asked for, where it is written.
    let groups = select(nwg.x * nwg.y, p.n_absmax_partials, p.gated == 1u && CONJ == 0u);
    var before = 0.0;
    if p.accumulate == 1u && index < 2u * p.slots {
        let slot = slot_of(index);
        let dst = dst_of(gemv_row(slot.x, first, groups), slot.y == 1u, wg.z);
        if dst != NOWHERE {
            before = y[dst]; // This load travels while the sums are made.
        }
    }
    gemv_products(index, first, groups, wg.z, own);
    for (var i = index; i < 2u * p.slots; i += WIDTH) {
        let slot = slot_of(i);
        let row = gemv_row(slot.x, first, groups);
        let dst = dst_of(row, slot.y == 1u, wg.z);
        if dst == NOWHERE {
            continue;
        }
        let value = gemv_slot_value(slot.x, row, slot.y == 1u);
        if p.gated == 1u {
            values[i] = value;
        } else if p.accumulate == 0u {
            y[dst] = value;
        } else if i == index {
            y[dst] = value + before;
        } else {
            y[dst] += value;
        }
    }
    if p.gated == 1u {
        workgroupBarrier();
        if CONJ == 1u {
            gemv_gate_complex(index, first, groups, wg.z);
        } else {
            gemv_gate_real(index, first, groups, wg.z);
        }
    }
}
