// Computes: dRe W (+)= dR11 - dR22, dIm W (+)= dR12 + dR21; the rows of R come in runs of real parts and of imaginary parts
// Inputs: the gradient by R; subnormals count as 0
// Work split: one invocation owns one complex weight, in row-major order
// Shapes: dr [2 n, 2 m] f32; dw [2 (re, im), n, m] f32

struct Params {
    rows: u32,    // n
    columns: u32, // m
    run: u32,     // complex rows whose real parts lie together
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dr: array<f32>;
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;

override ACCUMULATE: bool = false;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn conjugate_fold(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    let n_weights = p.rows * p.columns;
    if i >= n_weights {
        return;
    }
    let row = i / p.columns;
    let real = (row / p.run * 2u * p.run + row % p.run) * 2u * p.columns + i % p.columns;
    let imaginary = real + p.run * 2u * p.columns;
    // R11, R12, R21, R22
    let v = widely_flush(vec4(dr[real], dr[real + p.columns], dr[imaginary], dr[imaginary + p.columns]));
    var z = widely_flush(vec4(v.x - v.w, v.y + v.z, 0.0, 0.0)).xy;
    if ACCUMULATE {
        let old = widely_flush(vec4(dw[i], dw[i + n_weights], 0.0, 0.0)).xy;
        z = widely_flush(vec4(old + z, 0.0, 0.0)).xy;
    }
    dw[i] = z.x;
    dw[i + n_weights] = z.y;
}
