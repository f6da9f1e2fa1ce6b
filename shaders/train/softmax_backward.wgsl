// Computes: d_x[i, j] = slope[i, j] * y[i, j] * (d_y[i, j] - sum_l y[i, l] * d_y[i, l]) for the last `window` columns j <= i, 0
//           for the others; the slope is scale, or scale * (1 - tanh^2) where scores are capped
// Inputs: the weights y and their gradient d_y
// Work split: one workgroup owns one row
// Shapes: y [batch, rows, stride] f32; d_y the same, which becomes d_x in place. With a soft cap, column `rows` of y is the
//         logarithm of the sum that weights were divided by

struct Params {
    tokens: u32,
    stride: u32, // from row to row
    window: u32, // columns that a row sees at most
    scale: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_y: array<f32>;

override SOFTCAP: f32; // of scores; 0: none

const WIDTH = 256u;

// The derivative of a score. A weight of 0 has no logarithm, and needs none.
fn slope(weight: f32, log_sum: f32) -> f32 {
    var factor = p.scale;
    if SOFTCAP > 0.0 {
        let tanh = (log(max(weight, 1e-37)) + log_sum) / max(SOFTCAP, 1e-30);
        factor *= max(1.0 - tanh * tanh, 0.0);
    }
    return factor;
}

@compute @workgroup_size(WIDTH)
fn softmax_backward(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.tokens {
        return;
    }
    let base = (wg.z * p.tokens + row) * p.stride;
    let first = row + 1u - min(row + 1u, p.window);
    var log_sum = 0.0;
    if SOFTCAP > 0.0 {
        log_sum = y[base + p.tokens];
    }
    var sum = 0.0;
    for (var j = first + lane; j <= row; j += WIDTH) {
        sum += y[base + j] * d_y[base + j];
    }
    let mean = reduce_sum(lane, sum);
    for (var j = lane; j < p.tokens; j += WIDTH) {
        let at = base + j;
        var gradient = 0.0;
        if j >= first && j <= row {
            gradient = slope(y[at], log_sum) * y[at] * (d_y[at] - mean);
        }
        d_y[at] = gradient;
    }
}
