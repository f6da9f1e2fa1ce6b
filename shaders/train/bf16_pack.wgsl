// Computes: y = x in bf16, rounded up or down at random so that the mean is x
// Inputs: x [n] f32; the values of y from `offset` on
// Work split: one invocation owns two neighbouring values; their 32 bits of noise are those of their word
// Shapes: y two bf16 a word; `offset` is even; an odd last value leaves the upper half of its word 0

struct Params {
    n: u32,
    offset: u32,
    seed: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

const WIDTH = 256u;

// the upper half of an f32's bits, after `noise` of 16 bits was added to the lower one; infinity and NaN stay what they are
fn rounded(bits: u32, noise: u32) -> u32 {
    if (bits & 0x7f800000u) == 0x7f800000u {
        let quiet = select(0u, 0x40u, (bits & 0x7fffffu) != 0u);
        return (bits >> 16u) | quiet;
    }
    return (bits + noise) >> 16u;
}

@compute @workgroup_size(WIDTH)
fn bf16_pack(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = 2u * ((wg.x + wg.y * nwg.x) * WIDTH + lane);
    if i >= p.n {
        return;
    }
    let word = (p.offset + i) / 2u;
    let noise = hash32(word, p.seed);
    var both = rounded(x[i], noise & 0xffffu);
    if i + 1u < p.n {
        both |= rounded(x[i + 1u], noise >> 16u) << 16u;
    }
    y[word] = both;
}
