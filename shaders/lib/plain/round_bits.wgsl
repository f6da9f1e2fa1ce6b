// The plain stand-in for ../round_bits.wgsl: what WGSL has for each step.

fn round_nearest(v: vec4<f32>) -> vec4<i32> {
    return vec4<i32>(round(v));
}

fn round_opaque(v: vec4<f32>, none: u32) -> vec4<f32> {
    return v;
}

fn round_packed(u: vec4<u32>) -> u32 {
    return u.x + (u.y << 8u) + (u.z << 16u) + (u.w << 24u);
}
