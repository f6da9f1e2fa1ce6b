// Computes: y = U x + W conj(x) for one token in integers, U and W sums of stages; the sums are exact
// Inputs: codes and scales of a stack of layers; q, the byte planes of the token's integers; absmax, what these are worth
// Work split: one workgroup owns WIDTH / LANES complex rows, LANES invocations share a row; grid z counts tokens
// Shapes: codes [shard_rows, words, PLANES]; q [rows, 2 halves, BYTES, words] of 16 bytes; absmax [rows];
//         scale_blocks [scale_blocks, 1 + groups * PLANES * 2]; y [rows, outputs]

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> q: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> absmax: array<u32>;
@group(0) @binding(4) var<storage, read> scale_blocks: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

override LANES: u32;

const WIDTH = 128u;

var<workgroup> partial: array<vec4<u32>, WIDTH>;

fn load_word(at: u32) -> Word {
    var a: Word;
    a.re_high = q[at];
    a.im_high = q[at + BYTES * p.words];
    if BYTES == 2u {
        a.re_low = q[at + p.words];
        a.im_low = q[at + 3u * p.words];
    }
    return a;
}

fn row_sum(row: u32, scale_block: u32, token: u32, lane: u32) -> vec4<u32> {
    var acc = vec4(0u);
    var s: Terms;
    let first = token * 2u * BYTES * p.words;
    for (var w = lane; w < p.words; w += LANES) {
        s = planes_add(s, load_codes(row, w), load_word(first + w));
        if p.groups > 1u {
            acc = scaled_add(acc, s, scale_block + 1u + w / p.group_words * PLANES * 2u);
            s = Terms();
        }
    }
    if p.groups == 1u {
        acc = scaled_add(acc, s, scale_block + 1u);
    }
    return acc;
}

@compute @workgroup_size(WIDTH)
fn phase_gemv(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let lane = index % LANES;
    let row = (wg.x + wg.y * nwg.x) * (WIDTH / LANES) + index / LANES;
    let token = wg.z;
    let place = stack_place(p, p.first_row + row);
    let scale_block = place.x * (1u + p.groups * PLANES * 2u);
    if row < p.shard_rows {
        partial[index] = row_sum(row, scale_block, token, lane);
    }
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane < step && row < p.shard_rows {
            let a = partial[index];
            let b = partial[index + step];
            partial[index] = vec4(wide_add(a.xy, b.xy), wide_add(a.zw, b.zw));
        }
        workgroupBarrier();
    }
    // The first two invocations of a row finish its real and its imaginary half.
    let at = select(place.y, place.z, lane == 1u);
    if row < p.shard_rows && lane < 2u && at != NOWHERE {
        let sum = partial[index - lane];
        let value = bits_to_f32(select(sum.xy, sum.zw, lane == 1u), absmax[token], i32(scale_blocks[scale_block]));
        let i = token * p.outputs + at;
        y[i] = select(value, y[i] + value, p.accumulate == 1u);
    }
}
