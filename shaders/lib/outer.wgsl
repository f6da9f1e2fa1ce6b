// Outer products for register tiles.
// Provides: outer

// Column c is r[c] * o.
fn outer(r: vec4<f32>, o: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(r.x * o, r.y * o, r.z * o, r.w * o);
}
