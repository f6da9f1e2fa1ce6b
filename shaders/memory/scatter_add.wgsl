// Computes: y[rows[i]] += weights[i] * x[i], per row i of x
// Inputs: x, the row of y that each of its rows goes to (no row of y twice), and what it is multiplied by
// Work split: one invocation owns one element of x
// Shapes: x [count, n] f32; rows [offset + count] u32; weights [offset + count] f32; y [y_rows, n] f32

struct Params {
    count: u32,
    n: u32,
    offset: u32, // of what belongs to row 0 of x in rows and weights
    y_rows: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn scatter_add(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= p.count * p.n {
        return;
    }
    let row = rows[p.offset + i / p.n];
    if row < p.y_rows {
        y[row * p.n + i % p.n] += weights[p.offset + i / p.n] * x[i];
    }
}
