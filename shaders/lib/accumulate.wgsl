// Exact sums of scaled products in 64 bits.
// Requires: wide_add, wide_mul_signed
// Provides: accumulate, accumulate_half

// Adds one plane (a stage of U, or of W where `conj` says so) to acc = (re low, re high, im low, im high). The sums are
// .x = sum Re(i^k) * x_re, .y = sum Im(i^k) * x_re, .z = sum Re(i^k) * x_im, .w = sum Im(i^k) * x_im.
fn accumulate(acc: vec4<u32>, sums: vec4<i32>, m_re: u32, m_im: u32, conj: bool) -> vec4<u32> {
    // W acts on conj(x): x_im changes its sign
    let z = select(sums.z, -sums.z, conj);
    let w = select(sums.w, -sums.w, conj);
    let re = wide_add(wide_mul_signed(sums.x, m_re), wide_mul_signed(-w, m_im));
    let im = wide_add(wide_mul_signed(z, m_re), wide_mul_signed(sums.y, m_im));
    return vec4(wide_add(acc.xy, re), wide_add(acc.zw, im));
}

// The same for the real or the imaginary half of acc alone.
fn accumulate_half(acc: vec2<u32>, sums: vec4<i32>, m_re: u32, m_im: u32, conj: bool, imaginary: bool) -> vec2<u32> {
    let s = sums * select(vec4(1i), vec4(1i, 1i, -1i, -1i), conj);
    let by_re = wide_mul_signed(select(s.x, s.z, imaginary), m_re);
    let by_im = wide_mul_signed(select(-s.w, s.y, imaginary), m_im);
    return wide_add(acc, wide_add(by_re, by_im));
}
