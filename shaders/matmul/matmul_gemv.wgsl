// Computes: y[row, out_offset + o] (+)= sum_k x[row, k] * w[o, k]
// Inputs: rows of w are padded with zeros to whole vec4s of words
// Work split: one workgroup owns four outputs of one row (grid z)
// Shapes: x [rows, k] f32; w [outs, stride] vec4s of words; y [rows, y_stride] f32

struct Params {
    k: u32,
    outs: u32,
    stride: u32,     // vec4s from row to row of w
    y_stride: u32,
    out_offset: u32, // of the first output in y
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

override ELEM: u32 = 0u;             // 0 f32, 1 f16, 2 bf16
override ACCUMULATE: bool = false;

const WIDTH = 64u;
const OUTS = 4u;

var<workgroup> parts: array<vec4<f32>, WIDTH>;

@compute @workgroup_size(WIDTH)
fn matmul_gemv(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (wg.x + wg.y * nwg.x) * OUTS;
    if first >= p.outs {
        return;
    }
    let row = wg.z;
    // outputs that do not exist repeat the last one
    let outs = min(first + vec4(0u, 1u, 2u, 3u), vec4(p.outs - 1u));
    parts[lane] = gemv_share(lane, row * p.k, outs * p.stride);
    workgroupBarrier();
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if lane < step {
            parts[lane] += parts[lane + step];
        }
        workgroupBarrier();
    }
    if lane < OUTS && first + lane < p.outs {
        let at = row * p.y_stride + p.out_offset + first + lane;
        y[at] = select(0.0, y[at], ACCUMULATE) + parts[0][lane];
    }
}
