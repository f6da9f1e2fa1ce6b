// Computes: d_weight[j] += sum over rows of d_y[row, j] * x[row, j] * scale[row]
// Inputs: x, the gradient d_y, and the scales that rms_norm_backward left
// Work split: one workgroup owns 16 columns, an invocation every 16th row of one of them
// Shapes: x, d_y [rows, n] f32; scale [rows] f32; d_weight [n] f32

struct Params {
    tokens: u32,
    n: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> d_y: array<f32>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_weight: array<f32>;

const WIDTH = 256u;
const COLUMNS = 16u;
const SLICES = WIDTH / COLUMNS;

var<workgroup> parts: array<f32, WIDTH>;

fn term(row: u32, column: u32) -> f32 {
    let r = min(row, p.tokens - 1u);
    let at = r * p.n + column;
    return select(0.0, d_y[at] * x[at] * scale[r], row < p.tokens);
}

@compute @workgroup_size(WIDTH)
fn rms_norm_weight_backward(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (wg.x + wg.y * nwg.x) * COLUMNS;
    if first >= p.n {
        return;
    }
    let column = first + lane % COLUMNS;
    var sums = vec4(0.0);
    if column < p.n {
        // four rows at once: their latency is what a workgroup waits for
        for (var row = lane / COLUMNS; row < p.tokens; row += 4u * SLICES) {
            sums += vec4(
                term(row, column),
                term(row + SLICES, column),
                term(row + 2u * SLICES, column),
                term(row + 3u * SLICES, column),
            );
        }
    }
    parts[lane] = (sums.x + sums.y) + (sums.z + sums.w);
    workgroupBarrier();
    for (var step = WIDTH / 2u; step >= COLUMNS; step /= 2u) {
        if lane < step {
            parts[lane] += parts[lane + step];
        }
        workgroupBarrier();
    }
    if lane < COLUMNS && column < p.n {
        d_weight[column] += parts[lane];
    }
}
