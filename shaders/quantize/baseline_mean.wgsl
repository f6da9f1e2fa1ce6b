// Computes: scale = mean |R|; threshold = mean R (binary) or (scale + 1e-5) / 2 (ternary)
// Inputs: sums of positive and of negative weights per row, in fixed point
// Work split: one workgroup owns everything
// Shapes: sums [rows, 2] of (low, high); stats [2] = (scale, threshold)

struct Params {
    rows: u32,
    count: u32, // of all weights
    exponent: i32,
    ternary: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> sums: array<u32>;
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;

const WIDTH = 256u;

var<workgroup> totals: array<vec4<u32>, WIDTH>;

@compute @workgroup_size(WIDTH)
fn baseline_mean(@builtin(local_invocation_index) lane: u32) {
    var total = vec4<u32>();
    for (var row = lane; row < p.rows; row += WIDTH) {
        let positive = vec2(sums[4u * row], sums[4u * row + 1u]);
        let negative = vec2(sums[4u * row + 2u], sums[4u * row + 3u]);
        total = vec4(wide_add(total.xy, positive), wide_add(total.zw, negative));
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
    if lane > 0u {
        return;
    }
    let positive = totals[0].xy;
    let negative = totals[0].zw;
    let scale = bitcast<f32>(fixed_mean(wide_add(positive, negative), p.count, p.exponent, 0u));
    stats[0] = scale;
    if p.ternary == 1u {
        stats[1] = 0.5 * (scale + 1e-5);
    } else if wide_cmp(positive, negative) < 0 {
        stats[1] = -bitcast<f32>(fixed_mean(wide_sub(negative, positive), p.count, p.exponent, 0u));
    } else {
        stats[1] = bitcast<f32>(fixed_mean(wide_sub(positive, negative), p.count, p.exponent, 0u));
    }
}
