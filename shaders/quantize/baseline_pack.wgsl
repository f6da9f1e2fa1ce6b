// Computes: codes; binary: +scale where R > threshold, else -scale; ternary: sign(R) * scale where |R| > threshold, else 0
// Inputs: the weight, its scale and its threshold
// Work split: one workgroup owns one row, one invocation a word of it
// Shapes: r [rows, columns]; stats [2] = (scale, threshold); codes [rows, words]; errors [rows, 2] u64: |R - Rq|^2, |R|^2

struct Params {
    first_row: u32, // of the piece
    rows: u32,
    columns: u32,
    exponent: i32,
    ternary: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read> stats: array<f32>;
@group(0) @binding(3) var<storage, read_write> codes: array<u32>;
@group(0) @binding(4) var<storage, read_write> errors: array<u32>;

const WIDTH = 64u;

var<workgroup> totals: array<vec4<u32>, WIDTH>;

// packs one word; returns its (squared error, squared magnitude)
fn pack(row: u32, word: u32, per_word: u32, words: u32) -> vec4<u32> {
    let scale = stats[0];
    let threshold = stats[1];
    var packed = 0u;
    var sums = vec4<u32>();
    for (var j = 0u; j < min(per_word, p.columns - word * per_word); j++) {
        var x = r[row * p.columns + word * per_word + j];
        if (bitcast<u32>(x) & 0x7f800000u) == 0u {
            x = 0.0; // subnormals, which comparisons may or may not flush
        }
        var value = 0.0;
        if p.ternary == 0u {
            packed |= select(0u, 1u, x > threshold) << j;
            value = select(-scale, scale, x > threshold);
        } else if abs(x) > threshold {
            packed |= 1u << (2u * j);
            // The second bit by itself: Direct3D's compiler and Wine lose it of `select(3u, 1u, x > 0.0) << (2u * j)`.
            if x < 0.0 {
                packed |= 2u << (2u * j);
            }
            value = select(-scale, scale, x > 0.0);
        }
        let error = wide_add(sums.xy, fixed_square(x - value, p.exponent + 1));
        sums = vec4(error, wide_add(sums.zw, fixed_square(x, p.exponent + 1)));
    }
    codes[row * words + word] = packed;
    return sums;
}

@compute @workgroup_size(WIDTH)
fn baseline_pack(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.rows {
        return;
    }
    let per_word = select(32u, 16u, p.ternary == 1u);
    let words = (p.columns + per_word - 1u) / per_word;
    var total = vec4<u32>();
    for (var word = lane; word < words; word += WIDTH) {
        let sums = pack(row, word, per_word, words);
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
