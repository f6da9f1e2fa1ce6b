// Outer products for register tiles.

// columns: r; components: o
fn outer(r: vec4<f32>, o: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(r.x * o, r.y * o, r.z * o, r.w * o);
}
