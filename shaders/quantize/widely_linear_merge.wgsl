// Computes: R11 = Re U + Re W, R12 = Im W - Im U, R21 = Im W + Im U, R22 = Re U - Re W
// Inputs: U and W
// Work split: one workgroup owns 256 complex weights, in row-major order
// Shapes: planes [n, 2 (U, W), m, 2 (re, im)] with n, m half the rows and columns, rounded up; r [rows, columns]

struct Params {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> planes: array<f32>;
@group(0) @binding(2) var<storage, read_write> r: array<f32>;

const WIDTH = 256u;

fn put(row: u32, c: u32, value: f32) {
    if row < p.rows && c < p.columns {
        r[row * p.columns + c] = value;
    }
}

@compute @workgroup_size(WIDTH)
fn widely_linear_merge(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = (p.rows + 1u) / 2u;
    let m = (p.columns + 1u) / 2u;
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= n * m {
        return;
    }
    let row = i / m;
    let c = i % m;
    let u = (row * 2u * m + c) * 2u;
    let w = u + 2u * m;
    let v = widely_merge_parts(vec4(planes[u], planes[u + 1u], planes[w], planes[w + 1u]));
    put(row, c, v.x);
    put(row, c + m, v.y);
    put(row + n, c, v.z);
    put(row + n, c + m, v.w);
}
