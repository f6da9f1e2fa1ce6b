// Four halves, as they lie in two words. As integers they cost nothing on their way to workgroup memory, by
// unpack2x16float they are converted twice.

fn quad(low: u32, high: u32) -> vec4<f16> {
    return bitcast<vec4<f16>>(vec4<u16>(u16(low), u16(low >> 16u), u16(high), u16(high >> 16u)));
}
