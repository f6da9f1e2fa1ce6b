// Computes: y[dst + i] = y[src + i] for i in 0..words; the ranges do not overlap
// Inputs: words of any kind
// Work split: one workgroup owns 4096 words, an invocation every 256th of them
// Shapes: y u32

struct Params {
    src: u32,
    dst: u32,
    words: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

const WIDTH = 256u;
const PER_GROUP = 4096u;

@compute @workgroup_size(WIDTH)
fn copy_within(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (wg.x + wg.y * nwg.x) * PER_GROUP;
    for (var i = lane; i < PER_GROUP; i += WIDTH) {
        if first + i < p.words {
            y[p.dst + first + i] = y[p.src + first + i];
        }
    }
}
