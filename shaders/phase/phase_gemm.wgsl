// y = U x + W conj(x) for many tokens, U and W in {1, i, -1, -i} stages, x in integers: exact sums
// one workgroup owns 16 complex rows x 32 tokens, one invocation a row and two tokens
// codes [piece_rows, words, TERMS]; q [rows, 2, PLANES, words] of 16 bytes; cells [cells, 1 + groups TERMS 2]; y [rows, outputs]

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> q: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> absmax: array<u32>;
@group(0) @binding(4) var<storage, read> cells: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const ROWS = 16u;
const TOKENS = 32u;
const STEP = 2u; // words of activations staged at once
const WIDTH = 256u;

var<workgroup> tile: array<vec4<u32>, 256>; // [TOKENS, 2 PLANES, STEP], PLANES at most 2

// stages words w.. of all tokens of the tile; what lies beyond the row or the tokens is zero. There is at most one for
// each invocation: a loop that some never enter would make FXC take the barrier after it for one in varying flow
fn stage(w: u32, first_token: u32, index: u32) {
    let parts = 2u * PLANES;
    let word = w + index % STEP;
    let part = index / STEP % parts;
    let token = first_token + index / (STEP * parts);
    if index < TOKENS * parts * STEP {
        var value = vec4(0u);
        if word < p.words && token < p.rows {
            value = q[(token * parts + part) * p.words + word];
        }
        tile[index] = value;
    }
}

// word `word` of the staged step, of token `slot` of the tile
fn load_word(slot: u32, word: u32) -> Word {
    let at = slot * 2u * PLANES * STEP + word;
    var a: Word;
    a.re_high = tile[at];
    a.im_high = tile[at + PLANES * STEP];
    if PLANES == 2u {
        a.re_low = tile[at + STEP];
        a.im_low = tile[at + 3u * STEP];
    }
    return a;
}

fn store(token: u32, place: vec3<u32>, sum: vec4<u32>, exponent: i32) {
    let base = token * p.outputs;
    let re = to_f32(sum.xy, absmax[token], exponent);
    y[base + place.y] = select(re, y[base + place.y] + re, p.add == 1u);
    if place.z != NOWHERE {
        let im = to_f32(sum.zw, absmax[token], exponent);
        y[base + place.z] = select(im, y[base + place.z] + im, p.add == 1u);
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
    let here = row < p.piece_rows;
    let at = place(p, p.first_row + row);
    let cell = at.x * (1u + p.groups * TERMS * 2u);
    var acc0 = vec4(0u);
    var acc1 = vec4(0u);
    var s0: Terms;
    var s1: Terms;
    for (var step = 0u; step < p.words; step += STEP) {
        workgroupBarrier();
        stage(step, first_token, index);
        workgroupBarrier();
        for (var word = 0u; word < STEP; word++) {
            let w = step + word;
            if here && w < p.words {
                let c = load_codes(row, w);
                s0 = add_terms(s0, c, load_word(slot, word));
                s1 = add_terms(s1, c, load_word(slot + 16u, word));
                if (w + 1u) % p.group_words == 0u || w + 1u == p.words {
                    let scales = cell + 1u + w / p.group_words * TERMS * 2u;
                    acc0 = flush(acc0, s0, scales);
                    acc1 = flush(acc1, s1, scales);
                    s0 = Terms();
                    s1 = Terms();
                }
            }
        }
    }
    if here && first_token + slot < p.rows {
        store(first_token + slot, at, acc0, i32(cells[cell]));
    }
    if here && first_token + slot + 16u < p.rows {
        store(first_token + slot + 16u, at, acc1, i32(cells[cell]));
    }
}
