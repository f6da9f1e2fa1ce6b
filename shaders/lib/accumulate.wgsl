// Exact sums of scaled products in 64 bits.
// Requires: wide_add, wide_mul_signed
// Provides: Added, accumulate, accumulate_half, accumulate_apart, accumulate_half_apart

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

// What real and what imaginary inputs add to an output, as (re low, re high, im low, im high): they have scales of their own
// in the conjugate form. In the widely-linear form by_re is what all inputs add.
struct Added {
    by_re: vec4<u32>,
    by_im: vec4<u32>,
}

// Adds one plane of the conjugate form to what the real and to what the imaginary inputs add.
fn accumulate_apart(acc: Added, sums: vec4<i32>, m_re: u32, m_im: u32) -> Added {
    let re = accumulate_half_apart(vec4(acc.by_re.xy, acc.by_im.xy), sums, m_re, m_im, false);
    let im = accumulate_half_apart(vec4(acc.by_re.zw, acc.by_im.zw), sums, m_re, m_im, true);
    return Added(vec4(re.xy, im.xy), vec4(re.zw, im.zw));
}

// The same for the real or the imaginary output alone: acc = (by real inputs low, high, by imaginary ones low, high).
fn accumulate_half_apart(acc: vec4<u32>, sums: vec4<i32>, m_re: u32, m_im: u32, imaginary: bool) -> vec4<u32> {
    // conj(x): x_im changes its sign
    let by_re = wide_mul_signed(select(sums.x, sums.y, imaginary), select(m_re, m_im, imaginary));
    let by_im = wide_mul_signed(select(sums.w, -sums.z, imaginary), select(m_im, m_re, imaginary));
    return vec4(wide_add(acc.xy, by_re), wide_add(acc.zw, by_im));
}
