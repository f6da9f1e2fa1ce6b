// codes of all stages: k_t = sector(E_t), E_{t+1} = E_t - i^k_t s_t; and sum |R - Rq|^2, sum |R|^2 in fixed point
// one workgroup owns one complex row, one lane 16 columns of it
// r [rows + lower_rows, columns]; scales [cells, groups, 2, stages, 2]; codes [rows, 2, stages, words]; errors [rows, 2] u64

struct Params {
    first_row: u32,  // of the piece, among the rows that share `scales`
    rows: u32,       // upper real rows in r
    lower_rows: u32, // real rows below them: as many, or one less (then it is 0)
    columns: u32,    // real
    half: u32,       // complex
    group: u32,      // complex columns that share scales: a multiple of 16, or all
    groups: u32,
    by_row: u32,     // 0: one cell of scales, 1: one per row
    stages: u32,
    stage: u32,
    exponent: i32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read_write> codes: array<u32>;
@group(0) @binding(4) var<storage, read_write> errors: array<u32>;

const WIDTH = 64u;

var<workgroup> totals: array<vec4<u32>, WIDTH>;

// the four real weights of a complex one; 0 where there is none
fn load(row: u32, c: u32) -> vec4<f32> {
    let upper = row * p.columns + c;
    let lower = upper + p.rows * p.columns;
    let right = c + p.half < p.columns;
    let below = row < p.lower_rows;
    var v = vec4(r[upper], 0.0, 0.0, 0.0);
    if right {
        v.y = r[upper + p.half];
    }
    if below {
        v.z = r[lower];
    }
    if right && below {
        v.w = r[lower + p.half];
    }
    return v;
}

fn squares(v: vec4<f32>) -> vec2<u32> {
    let e = p.exponent + 1;
    let upper = wide_add(fixed_square(v.x, e), fixed_square(v.y, e));
    let lower = wide_add(fixed_square(v.z, e), fixed_square(v.w, e));
    return wide_add(upper, lower);
}

// packs 16 columns; returns their (squared error, squared magnitude)
fn pack(row: u32, word: u32, words: u32) -> vec4<u32> {
    let count = min(16u, p.half - 16u * word);
    var sums = vec4<u32>();
    var z = array<vec4<f32>, 16>();
    for (var j = 0u; j < count; j++) {
        let v = load(row, 16u * word + j);
        sums = vec4(sums.xy, wide_add(sums.zw, squares(v)));
        z[j] = widely_split_blocks(v);
    }
    let cell = select(0u, p.first_row + row, p.by_row == 1u);
    let u_scales = (cell * p.groups + 16u * word / p.group) * 4u * p.stages;
    let w_scales = u_scales + 2u * p.stages;
    for (var t = 0u; t < p.stages; t++) {
        let u_scale = vec2(scales[u_scales + 2u * t], scales[u_scales + 2u * t + 1u]);
        let w_scale = vec2(scales[w_scales + 2u * t], scales[w_scales + 2u * t + 1u]);
        var u_word = 0u;
        var w_word = 0u;
        for (var j = 0u; j < count; j++) {
            let u = phase_code(z[j].xy);
            let w = phase_code(z[j].zw);
            u_word |= phase_symbol(u) << phase_shift(j);
            w_word |= phase_symbol(w) << phase_shift(j);
            z[j] -= vec4(phase_value(u, u_scale), phase_value(w, w_scale));
        }
        let at = (row * 2u * p.stages + t) * words + word;
        codes[at] = u_word;
        codes[at + p.stages * words] = w_word;
    }
    for (var j = 0u; j < count; j++) {
        let right = 16u * word + j + p.half < p.columns;
        let below = row < p.lower_rows;
        let real = vec4(true, right, below, right && below);
        let error = select(vec4(0.0), widely_merge_parts(z[j]), real);
        sums = vec4(wide_add(sums.xy, squares(error)), sums.zw);
    }
    return sums;
}

@compute @workgroup_size(WIDTH)
fn phase_pack(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.rows {
        return;
    }
    let words = (p.half + 15u) / 16u;
    var total = vec4<u32>();
    for (var word = lane; word < words; word += WIDTH) {
        let sums = pack(row, word, words);
        total = vec4(wide_add(total.xy, sums.xy), wide_add(total.zw, sums.zw));
    }
    totals[lane] = total;
    workgroupBarrier();
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if lane < step {
            let a = totals[lane];
            let b = totals[lane + step];
            totals[lane] = vec4(wide_add(a.xy, b.xy), wide_add(a.zw, b.zw));
        }
        workgroupBarrier();
    }
    if lane < 4u {
        errors[row * 4u + lane] = totals[0][lane];
    }
}
