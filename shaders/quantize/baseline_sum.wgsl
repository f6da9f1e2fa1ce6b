// Computes: sums of the magnitudes of a row's positive weights, and of its negative ones, in fixed point
// Inputs: the weight
// Work split: one workgroup owns one row
// Shapes: r [rows, columns]; sums [total rows, 2] of (low, high)

struct Params {
    first_row: u32, // of the piece
    rows: u32,
    columns: u32,
    exponent: i32,
    ternary: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<u32>;

const WIDTH = 64u;

var<workgroup> totals: array<vec4<u32>, WIDTH>;

@compute @workgroup_size(WIDTH)
fn baseline_sum(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.rows {
        return;
    }
    var total = vec4<u32>();
    for (var c = lane; c < p.columns; c += WIDTH) {
        let x = r[row * p.columns + c];
        let size = fixed_magnitude(x, p.exponent);
        if (bitcast<u32>(x) >> 31u) == 0u {
            total = vec4(wide_add(total.xy, size), total.zw);
        } else {
            total = vec4(total.xy, wide_add(total.zw, size));
        }
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
        sums[(p.first_row + row) * 4u + lane] = totals[0][lane];
    }
}
