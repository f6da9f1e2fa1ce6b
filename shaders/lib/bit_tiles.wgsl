// Tiles of bit planes and byte planes in f16, for exact sums by cooperative matrices of 16 by 16: every product of a bit
// and a byte, and every sum of 65535 of them, is exact in f32. Needs planes.wgsl; the kernel declares PITCH and NB.
//
// Half a word of codes holds 8 columns of two bit planes. Shifted so that a plane's bit lies where a half has an
// exponent bit, and masked, two columns 16 bits apart are two halves: 2 for bit 1 and 2^-7 for bit 0.

const HALF_OF_BIT_0 = 0x20002000u; // 2^-7, twice
const HALF_OF_BIT_1 = 0x40004000u; // 2, twice

override B_LENGTH = 544u * NB;

var<workgroup> tile_a: array<vec4<f16>, 4352>; // [subgroup, pair of terms][term of the pair, bit, row][PITCH]
var<workgroup> tile_b: array<vec4<f16>, B_LENGTH>; // [plane of tokens][PITCH]

// four halves, as they lie in two words
fn quad(low: u32, high: u32) -> vec4<f16> {
    return bitcast<vec4<f16>>(vec4<u16>(u16(low), u16(low >> 16u), u16(high), u16(high >> 16u)));
}

// which word of which of four rows an invocation of a subgroup brings
struct Lane {
    row: u32,
    word: u32,
    swap: u32,
}

// 16 invocations that store together find 16 different banks if the upper two rows change the order of places
fn lane_of(index: u32) -> Lane {
    let swap = (index >> 3u) & 1u;
    return Lane(2u * swap + (index & 1u), ((index >> 1u) & 3u) + 4u * (index >> 4u), swap);
}

// a word of all terms
fn put_codes(at: u32, swap: u32, c: Codes) {
    put_bits(at, swap, c.x);
    put_bits(at + 8u * PITCH, swap, c.y);
    put_bits(at + 16u * PITCH, swap, c.z);
    put_bits(at + 24u * PITCH, swap, c.w);
}

// one word of a term: 4 columns of both bit planes to each of four places
fn put_bits(at: u32, swap: u32, code: u32) {
    let turned = 2u * swap;
    let upper = code >> 1u; // no shift below becomes negative
    put_columns(at + swap, vec2(code) << (vec2(13u, 5u) - vec2(turned)));
    put_columns(at + 1u - swap, vec2(code) << (vec2(11u, 3u) + vec2(turned)));
    put_columns(at + 2u + swap, vec2(upper) << (vec2(10u, 2u) - vec2(turned)));
    put_columns(at + 3u - swap, vec2(upper) << (vec2(8u, 0u) + vec2(turned)));
}

// bit 1 lies four rows below bit 0
fn put_columns(at: u32, bits: vec2<u32>) {
    let zero = bits & vec2(HALF_OF_BIT_0);
    let one = bits & vec2(HALF_OF_BIT_1);
    tile_a[at] = quad(zero.x, zero.y);
    tile_a[at + 4u * PITCH] = quad(one.x, one.y);
}

// four bytes, columns in the order of put_bits: 0, 2, 1, 3. 1024 + byte is a half whose last bits are the byte
fn four(bytes: u32, less: f16) -> vec4<f16> {
    let even = (bytes & 0x00ff00ffu) | 0x64006400u;
    let odd = ((bytes >> 8u) & 0x00ff00ffu) | 0x64006400u;
    return quad(even, odd) - vec4(less);
}

// 16 columns of a byte plane, signed or not
fn put_bytes(at: u32, swap: u32, bytes: vec4<u32>, signed: bool) {
    let less = select(f16(1024.0), f16(1152.0), signed);
    let v = select(bytes, bytes ^ vec4(0x80808080u), signed);
    let ordered = select(v, v.yxwz, swap == 1u);
    tile_b[at + swap] = four(ordered.x, less);
    tile_b[at + 1u - swap] = four(ordered.y, less);
    tile_b[at + 2u + swap] = four(ordered.z, less);
    tile_b[at + 3u - swap] = four(ordered.w, less);
}

fn sum_of_bytes(v: vec4<u32>, signed: bool) -> i32 {
    return select(total_low(v), total_high(v), signed);
}
