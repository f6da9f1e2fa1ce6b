// Computes: codes of the sum of stages nearest to each complex weight, for given scales; of all sums, or stage by stage
// Inputs: the real weight r and the scales of its stages
// Work split: one invocation owns one word of every plane: 16 complex columns of a row
// Shapes: r [rows + lower_rows, columns]; scales [cells, groups, 2, stages] of (re, im); codes [rows, 2, stages, words]

override STAGES: u32 = 4u;
override NESTED: u32 = 0u; // 1: stage by stage

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read_write> codes: array<u32>;

const WIDTH = 64u;

// (Re U, Im U, Re W, Im W)
fn parts_at(row: u32, c: u32) -> vec4<f32> {
    let upper = row * p.columns + c;
    let lower = upper + p.rows * p.columns;
    let right = c + p.half < p.columns;
    let below = row < p.lower_rows;
    let there = vec4(true, right, below, right && below);
    let at = select(vec4(0u), vec4(upper, upper + p.half, lower, lower + p.half), there);
    let blocks = vec4(r[at.x], r[at.y], r[at.z], r[at.w]);
    return widely_split_blocks(select(vec4(0.0), blocks, there));
}

// codes of U (first = 0) or W (first = STAGES)
fn chosen(z: vec2<f32>, first: u32) -> u32 {
    if NESTED == 0u {
        return phase_nearest_sum(z, first).code;
    }
    var e = z;
    var code = 0u;
    for (var t = 0u; t < STAGES; t++) {
        let s = stage_scales[first + t];
        let gain = s * (s - 2.0 * abs(e));
        let k = phase_solved(e, gain.x <= gain.y);
        e -= phase_value(k, s);
        code |= k << (2u * t);
    }
    return code;
}

@compute @workgroup_size(WIDTH)
fn phase_nearest(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let words = (p.half + 15u) / 16u;
    let index = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if index >= p.rows * words {
        return;
    }
    let row = index / words;
    let word = index % words;
    var found = array<u32, 8>();
    for (var c = 16u * word; c < min(16u * word + 16u, p.half); c++) {
        let scale_block = (p.first_row + row) / p.block_rows;
        phase_load_scales((scale_block * p.groups + c / p.group) * 4u * STAGES);
        let z = parts_at(row, c);
        let u = chosen(z.xy, 0u);
        let w = chosen(z.zw, STAGES);
        for (var t = 0u; t < STAGES; t++) {
            found[t] |= phase_symbol((u >> (2u * t)) & 3u) << phase_shift(c);
            found[STAGES + t] |= phase_symbol((w >> (2u * t)) & 3u) << phase_shift(c);
        }
    }
    for (var plane = 0u; plane < 2u * STAGES; plane++) {
        codes[(row * 2u * STAGES + plane) * words + word] = found[plane];
    }
}
