// Sums over the bit planes of 16 packed symbols (src/quarter.rs) times integer activations.

override TERMS: u32;  // U and W in all stages
override PLANES: u32; // bytes of an activation: 2 (high signed, low unsigned) or 1

const EACH_BYTE = 0x01010101u;

// sums of one term: bit 0 with re, bit 1 with re, bit 0 with im, bit 1 with im
fn dot_high(code: u32, k: u32, re: u32, im: u32) -> vec4<i32> {
    let b0 = (code >> (2u * k)) & EACH_BYTE;
    let b1 = (code >> (2u * k + 1u)) & EACH_BYTE;
    return vec4(
        dot4I8Packed(b0, re),
        dot4I8Packed(b1, re),
        dot4I8Packed(b0, im),
        dot4I8Packed(b1, im),
    );
}

fn dot_low(code: u32, k: u32, re: u32, im: u32) -> vec4<i32> {
    let b0 = (code >> (2u * k)) & EACH_BYTE;
    let b1 = (code >> (2u * k + 1u)) & EACH_BYTE;
    return vec4<i32>(vec4(
        dot4U8Packed(b0, re),
        dot4U8Packed(b1, re),
        dot4U8Packed(b0, im),
        dot4U8Packed(b1, im),
    ));
}

fn word_high(code: u32, re: vec4<u32>, im: vec4<u32>) -> vec4<i32> {
    return dot_high(code, 0u, re.x, im.x) + dot_high(code, 1u, re.y, im.y)
        + dot_high(code, 2u, re.z, im.z) + dot_high(code, 3u, re.w, im.w);
}

fn word_low(code: u32, re: vec4<u32>, im: vec4<u32>) -> vec4<i32> {
    return dot_low(code, 0u, re.x, im.x) + dot_low(code, 1u, re.y, im.y)
        + dot_low(code, 2u, re.z, im.z) + dot_low(code, 3u, re.w, im.w);
}

// sum of 16 activations
fn total_high(x: vec4<u32>) -> i32 {
    return dot4I8Packed(EACH_BYTE, x.x) + dot4I8Packed(EACH_BYTE, x.y)
        + dot4I8Packed(EACH_BYTE, x.z) + dot4I8Packed(EACH_BYTE, x.w);
}

fn total_low(x: vec4<u32>) -> i32 {
    return i32(dot4U8Packed(EACH_BYTE, x.x) + dot4U8Packed(EACH_BYTE, x.y)
        + dot4U8Packed(EACH_BYTE, x.z) + dot4U8Packed(EACH_BYTE, x.w));
}

// from bit-plane sums to sum Re(i^k) re, sum Im(i^k) re, sum Re(i^k) im, sum Im(i^k) im
fn turn(planes: vec4<i32>, total: vec2<i32>) -> vec4<i32> {
    return vec4(
        total.x - planes.x - planes.y,
        planes.x - planes.y,
        total.y - planes.z - planes.w,
        planes.z - planes.w,
    );
}
