// The codes of four planes: as packed, a word for each plane (src/codebook.rs); as products read them, a byte for each column.
// Provides: transposed

// Swaps symbol t in the bytes of word k with symbol k in the bytes of word t; its own inverse.
fn transposed(c: vec4<u32>) -> vec4<u32> {
    let pairs = ((c.xy >> vec2(4u)) ^ c.zw) & vec2(0x0f0f0f0fu);
    let first = c.xy ^ (pairs << vec2(4u));
    let second = c.zw ^ pairs;
    let even = vec2(first.x, second.x);
    let odd = vec2(first.y, second.y);
    let single = ((even >> vec2(2u)) ^ odd) & vec2(0x33333333u);
    let low = even ^ (single << vec2(2u));
    let high = odd ^ single;
    return vec4(low.x, high.x, low.y, high.y);
}
