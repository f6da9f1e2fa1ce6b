// Computes: the lower Cholesky factor of a block of at most 32 x 32, in place, and the factor's inverse
// Inputs: the lower triangle of the block
// Work split: one workgroup; invocation i owns row i of the factor, then column i of the inverse
// Shapes: a rows of `stride` values from `first` on; inverse [32, 32] from inverse_first on

struct Params {
    n: u32,
    first: u32,
    stride: u32,
    inverse_first: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> inverse: array<f32>;

const BLOCK = 32u;
const PITCH = BLOCK + 1u; // keeps columns out of each other's memory banks

var<workgroup> l: array<f32, BLOCK * PITCH>;
var<workgroup> x: array<f32, BLOCK * PITCH>;

@compute @workgroup_size(BLOCK)
fn cholesky_block(@builtin(local_invocation_index) i: u32) {
    let n = p.n;
    if i < n {
        for (var j = 0u; j < n; j++) {
            l[i * PITCH + j] = a[p.first + i * p.stride + j];
        }
    }
    for (var k = 0u; k < n; k++) {
        workgroupBarrier();
        let pivot = sqrt(l[k * PITCH + k]);
        workgroupBarrier();
        if i == k {
            l[k * PITCH + k] = pivot;
        } else if i > k && i < n {
            l[i * PITCH + k] /= pivot;
        }
        workgroupBarrier();
        if i > k && i < n {
            for (var j = k + 1u; j <= i; j++) {
                l[i * PITCH + j] -= l[i * PITCH + k] * l[j * PITCH + k];
            }
        }
    }
    workgroupBarrier();
    for (var r = 0u; r < BLOCK; r++) {
        var v = 0.0;
        if i < n && r >= i && r < n {
            v = select(0.0, 1.0, r == i);
            for (var k = i; k < r; k++) {
                v -= l[r * PITCH + k] * x[k * PITCH + i];
            }
            v /= l[r * PITCH + r];
        }
        x[r * PITCH + i] = v;
        inverse[p.inverse_first + r * BLOCK + i] = v;
        if i < n && r < n {
            a[p.first + r * p.stride + i] = select(0.0, l[r * PITCH + i], i <= r);
        }
    }
}
