// Computes: y = value
// Inputs: none but the value
// Work split: one workgroup owns 4096 words, an invocation every 256th of them
// Shapes: y [words] u32

struct Params {
    words: u32,
    value: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

const WIDTH = 256u;
const PER_GROUP = 4096u;

@compute @workgroup_size(WIDTH)
fn fill(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (wg.x + wg.y * nwg.x) * PER_GROUP;
    for (var i = lane; i < PER_GROUP; i += WIDTH) {
        if first + i < p.words {
            y[first + i] = p.value;
        }
    }
}
