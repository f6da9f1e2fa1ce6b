// Computes: Rq, the real weight of sum_t i^k_t * s_t over U and W: stages are added in their order, then U and W; or the
//           sum for W as it is
// Inputs: codes and scales
// Work split: one workgroup owns one complex row, one invocation a complex column
// Shapes: codes [rows, matrices, stages, words]; scales [blocks, groups, matrices, stages, 2]; r [rows + lower_rows, columns]

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read_write> r: array<f32>;

const WIDTH = 64u;

// The sum of the stages of one complex weight.
fn weight(first_word: u32, words: u32, first_scale: u32, c: u32) -> vec2<f32> {
    var z = vec2(0.0);
    for (var t = 0u; t < p.stages; t++) {
        let k = phase_code_at(codes[first_word + t * words], c);
        let s = first_scale + 2u * t;
        z += phase_value(k, vec2(scales[s], scales[s + 1u]));
    }
    return z;
}

@compute @workgroup_size(WIDTH)
fn phase_unpack(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.rows {
        return;
    }
    let words = (p.half + 15u) / 16u;
    let scale_block = (p.first_row + row) / p.block_rows;
    for (var c = lane; c < p.half; c += WIDTH) {
        let word = row * MATRICES * p.stages * words + c / 16u;
        let scale = (scale_block * p.groups + c / p.group) * 2u * MATRICES * p.stages;
        let upper = row * p.columns + c;
        let lower = upper + p.rows * p.columns;
        let u = weight(word, words, scale, c);
        if MATRICES == 1u {
            let z = widely_flush(vec4(u, 0.0, 0.0));
            r[upper] = z.x;
            r[lower] = z.y;
            continue;
        }
        let w = weight(word + p.stages * words, words, scale + 2u * p.stages, c);
        let v = widely_merge_parts(vec4(u, w));
        let right = c + p.half < p.columns;
        r[upper] = v.x;
        if right {
            r[upper + p.half] = v.y;
        }
        if row < p.lower_rows {
            r[lower] = v.z;
            if right {
                r[lower + p.half] = v.w;
            }
        }
    }
}
