// Tiles of bit planes and byte planes in f16, for exact sums by cooperative matrices of 16 by 16: every product of a
// bit and a byte, and every sum of 65535 of them, is exact in f32. Features planes.wgsl and quad.wgsl; the kernel declares
// NB, ROWS and PARTS.
//
// A block is four words of a row, 64 columns; a stage is four columns of each of the words, every other one of half of
// it. A byte of codes has a column's bits of four terms. Shifted so that a term's bits lie where a half has exponent
// bits, and masked, two columns 16 bits apart are two halves: 2 for bit 1 and 2^-7 for bit 0.

const HALF_OF_BIT_0 = 0x20002000u; // 2^-7, twice
const HALF_OF_BIT_1 = 0x40004000u; // 2, twice

// vec4s from row to row: 16 halves and 8 more, 64 halves and 8 more, so that stores and loads meet all banks
const PITCH_A = 6u;
const PITCH_B = 18u;

// vec4s of a subgroup's tile and of a part's: of a stage and of a block
const TILE_A = 384u;
override TILE_B = 16u * NB * PITCH_B;

override LENGTH_A = TILE_A * ROWS * PARTS;
override LENGTH_B = TILE_B * PARTS;

var<workgroup> tile_a: array<vec4<f16>, LENGTH_A>; // [subgroup][term, bit, row][PITCH_A]
var<workgroup> tile_b: array<vec4<f16>, LENGTH_B>; // [part][plane of tokens][PITCH_B]

// pairs of words of a block, of all its planes, are dealt out among the invocations of a part
override PLANE_STEP = 4u * ROWS;
override HAS_1 = PLANE_STEP < 16u * NB;
override HAS_2 = 2u * PLANE_STEP < 16u * NB;
override HAS_3 = 3u * PLANE_STEP < 16u * NB;

// a pair of words of each plane that an invocation brings
struct Bytes {
    x0: vec2<u32>,
    x1: vec2<u32>,
    x2: vec2<u32>,
    x3: vec2<u32>,
}

// the symbols of term t in even (stages 0 and 1) or odd bytes of a word, where exponents are
fn shifted(four: u32, k: u32, t: u32) -> u32 {
    return select(four << ((13u - 8u * (k / 2u) - 2u * t) & 31u), four >> 1u, k >= 2u && t == 3u);
}

// stage k of term t; bit 1 lies eight rows below bit 0
fn put_term(at: u32, c: vec2<u32>, k: u32, t: u32) {
    let first = shifted(c.x, k, t);
    let second = shifted(c.y, k, t);
    tile_a[at] = quad(first & HALF_OF_BIT_0, second & HALF_OF_BIT_0);
    tile_a[at + 8u * PITCH_A] = quad(first & HALF_OF_BIT_1, second & HALF_OF_BIT_1);
}

fn put_codes(at: u32, c: Codes, k: u32) {
    let half = select(c.xy, c.zw, k % 2u == 1u);
    put_term(at, half, k, 0u);
    put_term(at + 16u * PITCH_A, half, k, 1u);
    put_term(at + 32u * PITCH_A, half, k, 2u);
    put_term(at + 48u * PITCH_A, half, k, 3u);
}

// 8 bytes of a plane, for two stages; 1024 + byte is a half whose last bits are the byte. Returns their sum
fn put_pair(at: u32, bytes: vec2<u32>, signed: bool) -> i32 {
    let less = vec4(select(f16(1024.0), f16(1152.0), signed));
    let v = select(bytes, bytes ^ vec2(0x80808080u), signed);
    let even = (v & vec2(0x00ff00ffu)) | vec2(0x64006400u);
    let odd = ((v >> vec2(8u)) & vec2(0x00ff00ffu)) | vec2(0x64006400u);
    tile_b[at] = quad(even.x, even.y) - less;
    tile_b[at + 8u] = quad(odd.x, odd.y) - less;
    if signed {
        return dot4I8Packed(EACH_BYTE, bytes.x) + dot4I8Packed(EACH_BYTE, bytes.y);
    }
    return i32(dot4U8Packed(EACH_BYTE, bytes.x) + dot4U8Packed(EACH_BYTE, bytes.y));
}

// what an invocation brings of a block, `member` of its part; nothing of words beyond the end. Returns the sums
fn put_bytes(tile: u32, member: u32, x: Bytes, within: bool) -> vec4<i32> {
    let plane = member / 8u;
    let none = vec2(0u);
    let signed = PLANES == 1u || plane % 2u == 0u;
    // word of the block, stage of the pair's even bytes
    let at = tile + plane * PITCH_B + member % 8u / 2u + 4u * (member % 2u);
    var sums = vec4(0i);
    if plane < 16u * NB {
        sums.x = put_pair(at, select(none, x.x0, within), signed);
    }
    if HAS_1 && plane + PLANE_STEP < 16u * NB {
        sums.y = put_pair(at + PLANE_STEP * PITCH_B, select(none, x.x1, within), signed);
    }
    if HAS_2 && plane + 2u * PLANE_STEP < 16u * NB {
        sums.z = put_pair(at + 2u * PLANE_STEP * PITCH_B, select(none, x.x2, within), signed);
    }
    if HAS_3 && plane + 3u * PLANE_STEP < 16u * NB {
        sums.w = put_pair(at + 3u * PLANE_STEP * PITCH_B, select(none, x.x3, within), signed);
    }
    return sums;
}

fn bits(at: u32) -> coop_mat16x16<f16, A> {
    return coopLoadT<coop_mat16x16<f16, A>>(&tile_a[at], PITCH_A);
}

fn bytes(at: u32) -> coop_mat16x16<f16, B> {
    return coopLoad<coop_mat16x16<f16, B>>(&tile_b[at], PITCH_B);
}
