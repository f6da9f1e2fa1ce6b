// Computes: y = x in f32
// Inputs: x codes of all values, four a word, then a word for each block of 256: its top exponent; y [n] f32
// Work split: one invocation owns four neighbouring values, which are a word of codes
// Shapes: `offset`, where the values begin among all of them, is a multiple of 256

struct Params {
    n: u32,
    offset: u32,
    blocks: u32, // of all values
    positive: u32, // 1: codes have no sign
    span: u32,     // exponents from the least normal one to the top
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

const WIDTH = 256u;

// bits of the f32 that a code stands for
fn value(code: u32, least: i32) -> u32 {
    let sign = select((code & 128u) << 24u, 0u, p.positive == 1u);
    let magnitude = select(code & 127u, code, p.positive == 1u);
    var exponent = least - 1 + i32(magnitude >> 3u);
    var fraction = (magnitude & 7u) << 20u;
    if magnitude < 8u {
        // a multiple of 2^(least - 3), which f32 has as a normal number
        let multiple = bitcast<u32>(f32(magnitude));
        exponent = least - 130 + i32(multiple >> 23u);
        fraction = multiple & 0x7fffffu;
    }
    if magnitude == 0u || exponent < 1 {
        return sign;
    }
    return sign | (u32(min(exponent, 255)) << 23u) | fraction;
}

@compute @workgroup_size(WIDTH)
fn block8_unpack(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = 4u * ((wg.x + wg.y * nwg.x) * WIDTH + lane);
    if i >= p.n {
        return;
    }
    let at = p.offset + i;
    let codes = x[at / 4u];
    let least = i32(x[p.blocks * 64u + at / 256u]) - i32(p.span);
    for (var j = 0u; j < 4u; j++) {
        if i + j < p.n {
            y[i + j] = value((codes >> (8u * j)) & 255u, least);
        }
    }
}
