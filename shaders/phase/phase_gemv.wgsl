// Computes: y = U x + W conj(x), or with CONJ y = W conj(x), for one token in integers, U and W sums of stages; the sums are
//           exact
// Inputs: codes and scales of a stack of layers; q, the byte planes of the token's integers; absmax, what these are worth
// Work split: one workgroup owns WIDTH / LANES complex rows, LANES invocations share a row; grid z counts tokens
// Shapes: codes [shard_rows, words, PLANES]; q [rows, 2 halves, BYTES, words] of 16 bytes; absmax [rows], or
//         [rows, 2 halves] with CONJ; scale_blocks [scale_blocks, 1 + groups * PLANES * 2]; y [rows, outputs]

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> q: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> absmax: array<u32>;
@group(0) @binding(4) var<storage, read> scale_blocks: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

override LANES: u32;

const WIDTH = 128u;
override WIDTH_IM = 1u + CONJ * (WIDTH - 1u);

var<workgroup> partial: array<vec4<u32>, WIDTH>;
var<workgroup> partial_im: array<vec4<u32>, WIDTH_IM>; // what imaginary inputs add, with CONJ

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

fn row_sum(row: u32, scale_block: u32, token: u32, lane: u32) -> Added {
    var acc: Added;
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

fn both(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    return vec4(wide_add(a.xy, b.xy), wide_add(a.zw, b.zw));
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
        let sum = row_sum(row, scale_block, token, lane);
        partial[index] = sum.by_re;
        if CONJ == 1u {
            partial_im[index] = sum.by_im;
        }
    }
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane < step && row < p.shard_rows {
            partial[index] = both(partial[index], partial[index + step]);
            if CONJ == 1u {
                partial_im[index] = both(partial_im[index], partial_im[index + step]);
            }
        }
        workgroupBarrier();
    }
    // The first two invocations of a row finish its real and its imaginary half.
    let at = select(place.y, place.z, lane == 1u);
    if row < p.shard_rows && lane < 2u && at != NOWHERE {
        let sum = partial[index - lane];
        var by_im = vec4(0u);
        if CONJ == 1u {
            by_im = partial_im[index - lane];
        }
        let imaginary = lane == 1u;
        let exponent = i32(scale_blocks[scale_block]);
        let value = scaled_value(select(sum.xy, sum.zw, imaginary), select(by_im.xy, by_im.zw, imaginary), token, exponent);
        let i = token * p.outputs + at;
        y[i] = select(value, y[i] + value, p.accumulate == 1u);
    }
}
