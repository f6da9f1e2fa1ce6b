// Computes: y = x in f16
// Inputs: the columns of x from `offset` on
// Work split: one invocation owns four neighbouring values
// Shapes: x [rows, stride] f32; y [rows, columns] f16

struct Params {
    rows: u32,
    quads: u32,  // columns / 4
    stride: u32, // of x, in vectors of four
    offset: u32,  // in vectors of four
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2<u32>>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn cast_f16(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= p.rows * p.quads {
        return;
    }
    let v = x[p.offset + i / p.quads * p.stride + i % p.quads];
    y[i] = vec2(pack2x16float(v.xy), pack2x16float(v.zw));
}
