// y = U x + W conj(x) for many tokens, U and W in {1, i, -1, -i} stages, x in integers: exact sums
// one workgroup owns 16 complex rows x 32 tokens, one invocation a row and two tokens
// codes [piece_rows, TERMS, words]; q [rows, 2, PLANES, words] of 16 bytes; cells [cells, 1 + groups TERMS 2]; y [rows, outputs]

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
var<private> high: array<vec4<i32>, 16>;    // [2 tokens, TERMS]
var<private> low: array<vec4<i32>, 16>;
var<private> total: array<vec2<i32>, 2>;
var<private> acc: array<vec4<u32>, 2>;

fn clear_sums() {
    for (var t = 0u; t < 2u * TERMS; t++) {
        high[t] = vec4(0);
        low[t] = vec4(0);
    }
    total[0] = vec2(0);
    total[1] = vec2(0);
}

// the sums so far times their scales; starts new sums
fn flush(scales: u32) {
    for (var s = 0u; s < 2u; s++) {
        for (var t = 0u; t < TERMS; t++) {
            var planes = high[s * TERMS + t];
            if PLANES == 2u {
                planes = planes * 256 + low[s * TERMS + t];
            }
            let at = scales + 2u * t;
            let sums = turn(planes, total[s]);
            acc[s] = accumulate(acc[s], sums, cells[at], cells[at + 1u], 2u * t >= TERMS);
        }
    }
    clear_sums();
}

// stages words w.. of all tokens of the tile; what lies beyond the row or the tokens is zero
fn stage(w: u32, first_token: u32, index: u32) {
    let parts = 2u * PLANES;
    for (var i = index; i < TOKENS * parts * STEP; i += WIDTH) {
        let word = w + i % STEP;
        let part = i / STEP % parts;
        let token = first_token + i / (STEP * parts);
        var value = vec4(0u);
        if word < p.words && token < p.rows {
            value = q[(token * parts + part) * p.words + word];
        }
        tile[i] = value;
    }
}

// adds word `word` of the staged step for token slot s of this invocation
fn add_word(s: u32, slot: u32, word: u32, row: u32, w: u32) {
    let re = (slot * 2u * PLANES) * STEP + word;
    let im = re + PLANES * STEP;
    let re_high = tile[re];
    let im_high = tile[im];
    if PLANES == 2u {
        let re_low = tile[re + STEP];
        let im_low = tile[im + STEP];
        total[s] += vec2(total_high(re_high), total_high(im_high)) * 256
            + vec2(total_low(re_low), total_low(im_low));
        for (var t = 0u; t < TERMS; t++) {
            let code = codes[(row * TERMS + t) * p.words + w];
            high[s * TERMS + t] += word_high(code, re_high, im_high);
            low[s * TERMS + t] += word_low(code, re_low, im_low);
        }
    } else {
        total[s] += vec2(total_high(re_high), total_high(im_high));
        for (var t = 0u; t < TERMS; t++) {
            let code = codes[(row * TERMS + t) * p.words + w];
            high[s * TERMS + t] += word_high(code, re_high, im_high);
        }
    }
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
    acc[0] = vec4(0u);
    acc[1] = vec4(0u);
    clear_sums();
    for (var step = 0u; step < p.words; step += STEP) {
        workgroupBarrier();
        stage(step, first_token, index);
        workgroupBarrier();
        for (var word = 0u; word < STEP; word++) {
            let w = step + word;
            if here && w < p.words {
                add_word(0u, slot, word, row, w);
                add_word(1u, slot + 16u, word, row, w);
                if (w + 1u) % p.group_words == 0u || w + 1u == p.words {
                    flush(cell + 1u + w / p.group_words * TERMS * 2u);
                }
            }
        }
    }
    for (var s = 0u; s < 2u; s++) {
        let token = first_token + slot + 16u * s;
        if here && token < p.rows {
            store(token, at, acc[s], i32(cells[cell]));
        }
    }
}
