// Sums over 16 packed symbols (src/quarter.rs) times f32 activations.

override TERMS: u32; // U and W in all stages

// adds p re, q re, p im, q im, where p, q = +-1 are the signs of (1+i) i^k = p + i q
fn add_symbol(sums: vec4<f32>, symbol: u32, x: vec2<f32>) -> vec4<f32> {
    let signs = vec2<f32>(1.0, 1.0) - 2.0 * vec2<f32>(vec2(symbol & 1u, (symbol >> 1u) & 1u));
    return sums + vec4(signs * x.x, signs * x.y);
}

// to y_re, y_im of one term with scales s = (s_re, s_im); conj: the term belongs to W
fn scaled(sums: vec4<f32>, s: vec2<f32>, conj: bool) -> vec2<f32> {
    let re_x = 0.5 * (sums.x + sums.y); // sum Re(i^k) x_re
    let im_x = 0.5 * (sums.y - sums.x); // sum Im(i^k) x_re
    let sign = select(1.0, -1.0, conj);
    let re_y = sign * 0.5 * (sums.z + sums.w);
    let im_y = sign * 0.5 * (sums.w - sums.z);
    return vec2(s.x * re_x - s.y * im_y, s.x * re_y + s.y * im_x);
}
