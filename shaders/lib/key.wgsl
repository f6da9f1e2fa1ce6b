// Floats as integers of the same order.

// larger floats have larger keys; zeros of both signs are equal; NaN is below everything
// (no branches: they would keep the loads around them from overlapping)
fn order_key(bits: u32) -> u32 {
    let magnitude = bits & 0x7fffffffu;
    let key = select(0x80000000u - magnitude, 0x80000000u + magnitude, bits == magnitude);
    return select(key, 0u, magnitude > 0x7f800000u);
}
