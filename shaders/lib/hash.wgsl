// Reproducible noise that needs no state: 32 bits that follow from an index and a seed.
// Provides: hash32

fn hash32(index: u32, seed: u32) -> u32 {
    var x = index * 0x9e3779b1u + seed * 0x85ebca6bu;
    x ^= x >> 16u;
    x *= 0x7feb352du;
    x ^= x >> 15u;
    x *= 0x846ca68bu;
    return x ^ (x >> 16u);
}
