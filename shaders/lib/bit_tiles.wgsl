// Tiles of bit planes and byte planes in f16, for exact sums by cooperative matrices of 16 by 16: every product of a
// bit and a byte, and every sum of 65535 of them, is exact in f32. docs/notes/phase_gemm_bits.md draws the tiles.
//
// A block is four words of a row, 64 columns. A stage is four columns of each of the words: every other column of one half
// of the word. A byte of codes has a column's bits of four planes. Shifted so that a plane's bits lie where a half has its
// exponent, and masked, two columns 16 bits apart are two halves: 2 for bit 1 and 2^-7 for bit 0.
// Requires: quad, BYTES, Codes, EACH_BYTE, NB, PARTS, ROWS
// Provides: PITCH_A, PITCH_B, TILE_A, TILE_B, PLANE_STEP, HAS_1, HAS_2, HAS_3, Bytes, bit_put_codes,
//    bit_put_bytes, bit_load_bits, bit_load_bytes

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

var<workgroup> tile_a: array<vec4<f16>, LENGTH_A>; // [subgroup][plane, bit, row][PITCH_A]
var<workgroup> tile_b: array<vec4<f16>, LENGTH_B>; // [part][byte plane][PITCH_B]

// The pairs of words of a block, of all its byte planes, are dealt out among the invocations of a part.
override PLANE_STEP = 4u * ROWS;
override HAS_1 = PLANE_STEP < 16u * NB;
override HAS_2 = 2u * PLANE_STEP < 16u * NB;
override HAS_3 = 3u * PLANE_STEP < 16u * NB;

// A pair of words of each byte plane that an invocation brings.
struct Bytes {
    x0: vec2<u32>,
    x1: vec2<u32>,
    x2: vec2<u32>,
    x3: vec2<u32>,
}

// Moves the symbols of plane t to where halves have their exponents: those in even bytes of a word for stages 0 and 1,
// those in odd bytes for stages 2 and 3.
fn bit_shifted(four: u32, k: u32, t: u32) -> u32 {
    return select(four << ((13u - 8u * (k / 2u) - 2u * t) & 31u), four >> 1u, k >= 2u && t == 3u);
}

// Puts stage k of plane t; bit 1 lies eight rows below bit 0.
fn bit_put_plane(at: u32, c: vec2<u32>, k: u32, t: u32) {
    let first = bit_shifted(c.x, k, t);
    let second = bit_shifted(c.y, k, t);
    tile_a[at] = quad(first & HALF_OF_BIT_0, second & HALF_OF_BIT_0);
    tile_a[at + 8u * PITCH_A] = quad(first & HALF_OF_BIT_1, second & HALF_OF_BIT_1);
}

fn bit_put_codes(at: u32, c: Codes, k: u32) {
    let half = select(c.xy, c.zw, k % 2u == 1u);
    bit_put_plane(at, half, k, 0u);
    bit_put_plane(at + 16u * PITCH_A, half, k, 1u);
    bit_put_plane(at + 32u * PITCH_A, half, k, 2u);
    bit_put_plane(at + 48u * PITCH_A, half, k, 3u);
}

// Puts 8 bytes of a byte plane, which serve two stages, and returns their sum. The half 1024 + byte has the byte as its last
// bits, so masks make it, and a subtraction leaves the byte.
fn bit_put_pair(at: u32, bytes: vec2<u32>, signed: bool) -> i32 {
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

// Puts what an invocation, `member` of its part, brings of a block, or zeros where the block is not `within` the row.
// Returns the sums of its bytes.
fn bit_put_bytes(tile: u32, member: u32, x: Bytes, within: bool) -> vec4<i32> {
    let plane = member / 8u;
    let none = vec2(0u);
    let signed = BYTES == 1u || plane % 2u == 0u;
    // the word of the block, and the stage of the even bytes of the pair
    let at = tile + plane * PITCH_B + member % 8u / 2u + 4u * (member % 2u);
    var sums = vec4(0i);
    if plane < 16u * NB {
        sums.x = bit_put_pair(at, select(none, x.x0, within), signed);
    }
    if HAS_1 && plane + PLANE_STEP < 16u * NB {
        sums.y = bit_put_pair(at + PLANE_STEP * PITCH_B, select(none, x.x1, within), signed);
    }
    if HAS_2 && plane + 2u * PLANE_STEP < 16u * NB {
        sums.z = bit_put_pair(at + 2u * PLANE_STEP * PITCH_B, select(none, x.x2, within), signed);
    }
    if HAS_3 && plane + 3u * PLANE_STEP < 16u * NB {
        sums.w = bit_put_pair(at + 3u * PLANE_STEP * PITCH_B, select(none, x.x3, within), signed);
    }
    return sums;
}

fn bit_load_bits(at: u32) -> coop_mat16x16<f16, A> {
    return coopLoadT<coop_mat16x16<f16, A>>(&tile_a[at], PITCH_A);
}

fn bit_load_bytes(at: u32) -> coop_mat16x16<f16, B> {
    return coopLoad<coop_mat16x16<f16, B>>(&tile_b[at], PITCH_B);
}
