// Computes: gradients of the logarithms of scales: gradient = scale * sum of x over the rows that share the scale; those
//           behind the first stages stay as they are
// Inputs: sums along the codes, and the scales
// Work split: where every row has scales of its own, one invocation owns one scale, otherwise a workgroup does
// Shapes: x [rows, width]; scales, gradient [rows / block_rows, width]

struct Params {
    rows: u32,
    width: u32,
    block_rows: u32, // that share scales
    stages: u32,
    n_active: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;

const WIDTH = 256u;

fn kept(i: u32) -> bool {
    return (i / 2u) % p.stages < p.n_active;
}

@compute @workgroup_size(WIDTH)
fn scale_gradient(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    if p.block_rows == 1u {
        let i = group * WIDTH + lane;
        if i < p.rows * p.width && kept(i) {
            gradient[i] = scales[i] * x[i];
        }
        return;
    }
    let first = group / p.width * p.block_rows;
    if first >= p.rows || !kept(group) {
        return;
    }
    var sum = 0.0;
    for (var row = first + lane; row < min(p.rows, first + p.block_rows); row += WIDTH) {
        sum += x[row * p.width + group % p.width];
    }
    sum = reduce_sum(lane, sum);
    if lane == 0u {
        gradient[group] = scales[group] * sum;
    }
}
