// Four halves as they lie in two words, made of integers: that costs nothing on their way to workgroup memory, while
// drivers convert what unpack2x16float gives twice.
// The stand-in without this trick is plain/quad.wgsl; both give the same bits.
// Provides: quad

fn quad(low: u32, high: u32) -> vec4<f16> {
    return bitcast<vec4<f16>>(vec4<u16>(u16(low), u16(low >> 16u), u16(high), u16(high >> 16u)));
}
