// Computes: y = q * absmax / levels with q = round_half_even(x * levels / absmax): a row on the grid of its integers
// Inputs: x
// Work split: one workgroup owns one row
// Shapes: x, y [rows, columns] f32

struct Params {
    tokens: u32,
    columns: u32,
    levels: u32,
    inverse: f32, // 1 / levels
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const WIDTH = 256u;

var<workgroup> lane_absmax: array<u32, WIDTH>;

@compute @workgroup_size(WIDTH)
fn fake_quant(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.tokens {
        return;
    }
    let base = row * p.columns;
    var top = LEAST;
    for (var i = lane; i < p.columns; i += WIDTH) {
        top = max(top, bitcast<u32>(x[base + i]) & 0x7fffffffu);
    }
    lane_absmax[lane] = top;
    workgroupBarrier();
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if lane < step {
            lane_absmax[lane] = max(lane_absmax[lane], lane_absmax[lane + step]);
        }
        workgroupBarrier();
    }
    top = lane_absmax[0];
    for (var i = lane; i < p.columns; i += WIDTH) {
        let bits = bitcast<u32>(x[base + i]);
        let q = f32(round_quotient(bits & 0x7fffffffu, top, p.levels));
        let value = q * bitcast<f32>(top) * p.inverse;
        y[base + i] = select(value, -value, (bits >> 31u) == 1u);
    }
}
