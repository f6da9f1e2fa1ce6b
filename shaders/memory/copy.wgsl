// Computes: y = x
// Inputs: words of any kind
// Work split: one workgroup owns 1024 vectors of four words, an invocation every 256th of them
// Shapes: x [quads] vec4<u32>; y [quads] vec4<u32>

struct Params {
    quads: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>;

const WIDTH = 256u;
const PER_GROUP = 1024u;

@compute @workgroup_size(WIDTH)
fn copy(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (wg.x + wg.y * nwg.x) * PER_GROUP;
    for (var i = lane; i < PER_GROUP; i += WIDTH) {
        if first + i < p.quads {
            y[first + i] = x[first + i];
        }
    }
}
