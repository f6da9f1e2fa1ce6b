// Computes: x[i, j] = exp(s[i, j] - l_i) for the last `window` columns j <= i, with the scores s = scale * x, or
//           SOFTCAP * tanh(scale * x / SOFTCAP), and l_i = log sum_j exp(s[i, j]); 0 for the others
// Inputs: products of queries and keys
// Work split: one workgroup owns one row
// Shapes: x [batch, rows, stride] f32, of which `rows` columns count; in place. With a soft cap the next column is l

struct Params {
    tokens: u32,
    stride: u32, // from row to row
    window: u32, // columns that a row sees at most
    scale: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;

override SOFTCAP: f32; // of scores; 0: none

const WIDTH = 256u;
const LOWEST = -3.4e38;

// a score, which is yet to be multiplied by the scale unless it is capped
fn score(product: f32) -> f32 {
    return softcap_of(vec4(select(product, p.scale * product, SOFTCAP > 0.0))).x;
}

@compute @workgroup_size(WIDTH)
fn softmax(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.tokens {
        return;
    }
    let scale = select(p.scale, 1.0, SOFTCAP > 0.0);
    let base = (wg.z * p.tokens + row) * p.stride;
    let first = row + 1u - min(row + 1u, p.window);
    var top = LOWEST;
    for (var j = first + lane; j <= row; j += WIDTH) {
        top = max(top, score(x[base + j]));
    }
    top = reduce_max(lane, top);
    var total = 0.0;
    for (var j = first + lane; j <= row; j += WIDTH) {
        total += exp(scale * (score(x[base + j]) - top));
    }
    total = reduce_sum(lane, total);
    for (var j = lane; j < p.tokens; j += WIDTH) {
        var weight = 0.0;
        if j >= first && j <= row {
            weight = exp(scale * (score(x[base + j]) - top)) / total;
        }
        x[base + j] = weight;
    }
    if SOFTCAP > 0.0 && lane == 0u {
        x[base + p.tokens] = top + log(total);
    }
}
