// Computes: y = x in 8 bits, as small floats below the largest magnitude of each block of 256, rounded at random so that
//           the mean is x; all of it in integers, on the bits of f32
// Inputs: x [n] f32; y codes of all `of` values, four a word, then a word for each block: its top exponent
// Work split: 64 invocations own a block, each of them four neighbouring values, which is a word of codes
// Shapes: `offset`, where the values begin among all of them, is a multiple of 256

struct Params {
    n: u32,
    offset: u32,
    blocks: u32, // of all values
    seed: u32,
    positive: u32, // 1: codes have no sign, eight bits of magnitude, and 0 for nothing but 0
    span: u32,     // exponents from the least normal one to the top
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

const WIDTH = 256u;
const LANES = 64u; // of a block

var<workgroup> largest: array<u32, WIDTH>;

// of a value, or of 0 behind the last one
fn bits(i: u32) -> u32 {
    return select(0u, x[min(i, p.n - 1u)], i < p.n);
}

// an exponent and three bits of the significand; below the exponent `least` there are only multiples of 2^(least - 3)
fn code(value: u32, noise: u32, least: i32) -> u32 {
    let exponent = i32((value >> 23u) & 255u);
    if exponent == 0 {
        return 0u;
    }
    let shift = 20u + u32(max(least - exponent, 0));
    var magnitude = 0u;
    if shift < 32u {
        let significand = (value & 0x7fffffu) | 0x800000u;
        let dropped = (1u << shift) - 1u;
        magnitude = (u32(max(exponent - least, 0)) << 3u) + ((significand + (noise & dropped)) >> shift);
    }
    if p.positive == 1u {
        return max(magnitude, 1u);
    }
    return magnitude | ((value >> 24u) & 128u);
}

@compute @workgroup_size(WIDTH)
fn block8_pack(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let word = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    let values = vec4(bits(4u * word), bits(4u * word + 1u), bits(4u * word + 2u), bits(4u * word + 3u));
    let magnitudes = values & vec4(0x7fffffffu);
    largest[lane] = max(max(magnitudes.x, magnitudes.y), max(magnitudes.z, magnitudes.w));
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane % LANES < step {
            largest[lane] = max(largest[lane], largest[lane + step]);
        }
        workgroupBarrier();
    }
    if 4u * word >= (p.n + 255u) / 256u * 256u {
        return;
    }
    // what would be rounded up to the next power of two counts as that, so that no code is too large for its bits
    let top = (largest[lane / LANES * LANES] + 0xfffffu) >> 23u;
    let least = i32(top) - i32(p.span);
    let begin = p.offset + 4u * word;
    var codes = 0u;
    for (var j = 0u; j < 4u; j++) {
        codes |= code(values[j], hash32(begin + j, p.seed), least) << (8u * j);
    }
    y[begin / 4u] = codes;
    if lane % LANES == 0u {
        y[p.blocks * LANES + begin / 256u] = top;
    }
}
