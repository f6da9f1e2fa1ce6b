// Computes: y[i] = (hash32(i, seed) & keep) | set: reproducible noise, for synthetic weights
// Inputs: none but the seed and two masks
// Work split: one workgroup owns 256 * EACH words
// Shapes: y [words] u32

struct Params {
    words: u32,
    seed: u32,
    keep: u32,
    put: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

const WIDTH = 256u;
const EACH = 16u;

@compute @workgroup_size(WIDTH)
fn noise(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (wg.x + wg.y * nwg.x) * WIDTH * EACH + lane;
    for (var j = 0u; j < EACH; j++) {
        let i = first + j * WIDTH;
        if i < p.words {
            y[i] = (hash32(i, p.seed) & p.keep) | p.put;
        }
    }
}
