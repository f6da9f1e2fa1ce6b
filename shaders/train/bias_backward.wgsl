// Computes: d_bias += sum of d_y over tokens
// Inputs: d_y, of which columns from `first` on belong to the bias
// Work split: one workgroup owns COLUMNS columns; LANES invocations share a column
// Shapes: d_y [tokens, stride] f32; d_bias [n] f32

struct Params {
    tokens: u32,
    n: u32,
    stride: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_bias: array<f32>;

const COLUMNS = 32u;
const LANES = 8u;

var<workgroup> sums: array<f32, 256>; // [LANES, COLUMNS]

@compute @workgroup_size(256)
fn bias_backward(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let column = (wg.x + wg.y * nwg.x) * COLUMNS + index % COLUMNS;
    var sum = 0.0;
    if column < p.n {
        for (var token = index / COLUMNS; token < p.tokens; token += LANES) {
            sum += d_y[token * p.stride + p.first + column];
        }
    }
    sums[index] = sum;
    workgroupBarrier();
    if index >= COLUMNS || column >= p.n {
        return;
    }
    for (var lane = 1u; lane < LANES; lane++) {
        sum += sums[lane * COLUMNS + index];
    }
    d_bias[column] += sum;
}
