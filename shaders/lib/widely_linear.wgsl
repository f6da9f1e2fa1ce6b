// Widely-linear form: real blocks v = (R11, R12, R21, R22) <-> complex pair z = (Re U, Im U, Re W, Im W).
// Every result is one correctly rounded addition, and the halving is exact: there is nothing to contract, so all devices
// that round to nearest agree. Subnormals, which a device may or may not flush, count as 0 on the way in and out.
// Provides: widely_flush, widely_split_blocks, widely_merge_parts

fn widely_flush(x: vec4<f32>) -> vec4<f32> {
    return select(x, vec4(0.0), (bitcast<vec4<u32>>(x) & vec4(0x7f800000u)) == vec4(0u));
}

fn widely_split_blocks(blocks: vec4<f32>) -> vec4<f32> {
    let v = widely_flush(blocks);
    return widely_flush(0.5 * (v.xzxz + vec4(v.w, -v.y, -v.w, v.y)));
}

fn widely_merge_parts(parts: vec4<f32>) -> vec4<f32> {
    let z = widely_flush(parts);
    return widely_flush(z.xwwx + vec4(z.z, -z.y, z.y, -z.z));
}
