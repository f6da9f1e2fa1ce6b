// Computes: Rq = +scale, -scale or 0, as the codes say
// Inputs: codes and their scale
// Work split: one workgroup owns one row
// Shapes: codes [rows, words]; scale [1]; r [rows, columns]

struct Params {
    first_row: u32,
    rows: u32,
    columns: u32,
    exponent: i32,
    ternary: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> r: array<f32>;

const WIDTH = 64u;

@compute @workgroup_size(WIDTH)
fn baseline_unpack(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.rows {
        return;
    }
    let per_word = select(32u, 16u, p.ternary == 1u);
    let bits = 32u / per_word;
    let words = (p.columns + per_word - 1u) / per_word;
    let s = scale[0];
    for (var c = lane; c < p.columns; c += WIDTH) {
        let code = (codes[row * words + c / per_word] >> (bits * (c % per_word))) & (2u * bits - 1u);
        var value = select(0.0, s, code == 1u);
        if (p.ternary == 0u && code == 0u) || code == 3u {
            value = bitcast<f32>(bitcast<u32>(s) ^ 0x80000000u); // -0 where s = 0, everywhere
        }
        r[row * p.columns + c] = value;
    }
}
