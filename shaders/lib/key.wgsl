// Floats as integers of the same order.
// Provides: key_of, key_bits

// Larger floats have larger keys; zeros of both signs have the same; NaN is below everything. There are no branches, which
// would keep the loads around them from overlapping.
fn key_of(bits: u32) -> u32 {
    let magnitude = bits & 0x7fffffffu;
    let key = select(0x80000000u - magnitude, 0x80000000u + magnitude, bits == magnitude);
    return select(key, 0u, magnitude > 0x7f800000u);
}

// bits of a float with this key
fn key_bits(key: u32) -> u32 {
    let bits = select(0u - key, key - 0x80000000u, key >= 0x80000000u);
    return select(bits, 0x7fc00000u, key == 0u);
}
