// Computes: y = x in f32
// Inputs: x two bf16 a word, the values from `offset` on; y [n] f32
// Work split: one invocation owns two neighbouring values
// Shapes: `offset` is even

struct Params {
    n: u32,
    offset: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn bf16_unpack(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = 2u * ((wg.x + wg.y * nwg.x) * WIDTH + lane);
    if i >= p.n {
        return;
    }
    let both = x[(p.offset + i) / 2u];
    y[i] = both << 16u;
    if i + 1u < p.n {
        y[i + 1u] = both & 0xffff0000u;
    }
}
