// Computes: y[i, j] = x[rows[i], columns[j]], 0 where an index is padding; plus `diagonal` where i = j
// Inputs: lists of indices, read from `rows_offset` and `columns_offset` on; padding is 2^32 - 1
// Work split: one invocation owns one element of y
// Shapes: x rows of x_stride values; y rows of y_stride values from y_offset on

struct Params {
    n_rows: u32,
    n_columns: u32,
    rows_offset: u32,
    columns_offset: u32,
    x_stride: u32,
    y_offset: u32,
    y_stride: u32,
    diagonal: f32,
    symmetric: u32, // only the lower triangle of x is read
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> columns: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const WIDTH = 256u;
const PADDING = 0xffffffffu;

@compute @workgroup_size(WIDTH)
fn gather(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let element = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if element >= p.n_rows * p.n_columns {
        return;
    }
    let i = element / p.n_columns;
    let j = element % p.n_columns;
    let r = rows[p.rows_offset + i];
    let c = columns[p.columns_offset + j];
    let there = r != PADDING && c != PADDING;
    let place = select(vec2(r, c), vec2(max(r, c), min(r, c)), p.symmetric == 1u);
    let value = select(0.0, x[select(0u, place.x * p.x_stride + place.y, there)], there);
    y[p.y_offset + i * p.y_stride + j] = select(value, value + p.diagonal, i == j);
}
