// Computes: y = U x + W conj(x), or with CONJ y = W conj(x), for many tokens in integers, U and W sums of stages; the sums are
//           exact
// Inputs: codes and scales of a stack of layers; q, the byte planes of the tokens' integers; absmax, what these are worth
// Work split: one workgroup owns 16 complex rows x 32 tokens, one invocation a row and two tokens
// Shapes: codes [shard_rows, words, PLANES]; q [rows, 2 halves, BYTES, words] of 16 bytes; absmax [rows], or
//         [rows, 2 halves] with CONJ; scale_blocks [scale_blocks, 1 + groups * PLANES * 2]; y [rows, outputs]

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> q: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> absmax: array<u32>;
@group(0) @binding(4) var<storage, read> scale_blocks: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const ROWS = 16u;
const TOKENS = 32u;
const STEP = 2u; // words of activations that are staged at once
const WIDTH = 256u;

var<workgroup> tile: array<vec4<u32>, 256>; // [TOKENS, 2 BYTES, STEP], BYTES at most 2

// Word `word` of the staged step, of token `slot` of the tile.
fn load_word(slot: u32, word: u32) -> Word {
    let at = slot * 2u * BYTES * STEP + word;
    var a: Word;
    a.re_high = tile[at];
    a.im_high = tile[at + BYTES * STEP];
    if BYTES == 2u {
        a.re_low = tile[at + STEP];
        a.im_low = tile[at + 3u * STEP];
    }
    return a;
}

fn store(token: u32, place: vec3<u32>, sum: Added, exponent: i32) {
    let base = token * p.outputs;
    let re = scaled_value(sum.by_re.xy, sum.by_im.xy, token, exponent);
    y[base + place.y] = select(re, y[base + place.y] + re, p.accumulate == 1u);
    if place.z != NOWHERE {
        let im = scaled_value(sum.by_re.zw, sum.by_im.zw, token, exponent);
        y[base + place.z] = select(im, y[base + place.z] + im, p.accumulate == 1u);
    }
}

@compute @workgroup_size(WIDTH)
fn phase_gemm(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let row = (wg.x + wg.y * nwg.x) * ROWS + index % ROWS;
    let slot = index / ROWS;
    let first_token = wg.z * TOKENS;
    let here = row < p.shard_rows;
    let at = stack_place(p, p.first_row + row);
    let scale_block = at.x * (1u + p.groups * PLANES * 2u);
    var acc0: Added;
    var acc1: Added;
    var s0: Terms;
    var s1: Terms;
    for (var step = 0u; step < p.words; step += STEP) {
        workgroupBarrier();
        gemm_stage(step, first_token, index);
        workgroupBarrier();
        for (var word = 0u; word < STEP; word++) {
            let w = step + word;
            if here && w < p.words {
                let c = load_codes(row, w);
                s0 = planes_add(s0, c, load_word(slot, word));
                s1 = planes_add(s1, c, load_word(slot + 16u, word));
                if (w + 1u) % p.group_words == 0u || w + 1u == p.words {
                    let scales = scale_block + 1u + w / p.group_words * PLANES * 2u;
                    acc0 = scaled_add(acc0, s0, scales);
                    acc1 = scaled_add(acc1, s1, scales);
                    s0 = Terms();
                    s1 = Terms();
                }
            }
        }
    }
    if here && first_token + slot < p.tokens {
        store(first_token + slot, at, acc0, i32(scale_blocks[scale_block]));
    }
    if here && first_token + slot + 16u < p.tokens {
        store(first_token + slot + 16u, at, acc1, i32(scale_blocks[scale_block]));
    }
}
