// The plain stand-in for ../quad.wgsl: by f32, which holds every half.

fn quad(low: u32, high: u32) -> vec4<f16> {
    return vec4<f16>(vec4(unpack2x16float(low), unpack2x16float(high)));
}
