// Computes: U = ((R11 + R22) + i * (R21 - R12)) / 2, W = ((R11 - R22) + i * (R21 + R12)) / 2
// Inputs: the real weight r
// Work split: one workgroup owns 256 complex weights, in row-major order
// Shapes: r [rows, columns]; planes [n, 2 (U, W), m, 2 (re, im)] with n, m half the rows and columns, rounded up

struct Params {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read_write> planes: array<f32>;

const WIDTH = 256u;

fn element(row: u32, c: u32) -> f32 {
    if row < p.rows && c < p.columns {
        return r[row * p.columns + c];
    }
    return 0.0;
}

@compute @workgroup_size(WIDTH)
fn widely_linear_split(
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
    let blocks = vec4(element(row, c), element(row, c + m), element(row + n, c), element(row + n, c + m));
    let z = widely_split_blocks(blocks);
    let u = (row * 2u * m + c) * 2u;
    let w = u + 2u * m;
    planes[u] = z.x;
    planes[u + 1u] = z.y;
    planes[w] = z.z;
    planes[w + 1u] = z.w;
}
