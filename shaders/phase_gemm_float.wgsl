// y = U x + W conj(x) for many tokens, U and W in {1, i, -1, -i} stages, x in f32
// one workgroup owns 16 complex rows x 32 tokens, one invocation a row and two tokens
// codes [piece_rows, words, TERMS]; x [rows, in_features]; cells [cells, 1 + groups TERMS 2]; y [rows, outputs]

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> cells: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const ROWS = 16u;
const TOKENS = 32u;
const WIDTH = 256u;

var<workgroup> tile: array<vec2<f32>, 512>; // [TOKENS, 16 columns of one word]
var<private> sums: array<vec4<f32>, 16>;    // [2 tokens, TERMS]
var<private> acc: array<vec2<f32>, 2>;

fn clear_sums() {
    for (var t = 0u; t < 2u * TERMS; t++) {
        sums[t] = vec4(0.0);
    }
}

// the sums so far times their scales; starts new sums
fn flush(scales: u32) {
    for (var s = 0u; s < 2u; s++) {
        for (var t = 0u; t < TERMS; t++) {
            let at = scales + 2u * t;
            let scale = vec2(cells[at], cells[at + 1u]);
            acc[s] += scaled(sums[s * TERMS + t], scale, 2u * t >= TERMS);
        }
    }
    clear_sums();
}

// stages the columns of word w of all tokens; what lies beyond the row or the tokens is zero
fn stage(w: u32, first_token: u32, index: u32) {
    let half = (p.in_features + 1u) / 2u;
    for (var i = index; i < TOKENS * 16u; i += WIDTH) {
        let c = w * 16u + i % 16u;
        let token = first_token + i / 16u;
        var value = vec2(0.0);
        if c < half && token < p.rows {
            value.x = x[token * p.in_features + c];
            if half + c < p.in_features {
                value.y = x[token * p.in_features + half + c];
            }
        }
        tile[i] = value;
    }
}

fn add_word(slot: u32, row: u32, w: u32) {
    for (var t = 0u; t < TERMS; t++) {
        let code = codes[(row * p.words + w) * TERMS + t];
        var first = sums[t];
        var second = sums[TERMS + t];
        for (var j = 0u; j < 16u; j++) {
            let symbol = code >> (8u * (j % 4u) + 2u * (j / 4u));
            first = add_symbol(first, symbol, tile[slot * 16u + j]);
            second = add_symbol(second, symbol, tile[(slot + 16u) * 16u + j]);
        }
        sums[t] = first;
        sums[TERMS + t] = second;
    }
}

fn store(i: u32, value: f32) {
    y[i] = select(value, y[i] + value, p.add == 1u);
}

@compute @workgroup_size(WIDTH)
fn phase_gemm_float(
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
    acc[0] = vec2(0.0);
    acc[1] = vec2(0.0);
    clear_sums();
    for (var w = 0u; w < p.words; w++) {
        workgroupBarrier();
        stage(w, first_token, index);
        workgroupBarrier();
        if here {
            add_word(slot, row, w);
            if (w + 1u) % p.group_words == 0u || w + 1u == p.words {
                flush(cell + 1u + w / p.group_words * TERMS * 2u);
            }
        }
    }
    for (var s = 0u; s < 2u; s++) {
        let token = first_token + slot + 16u * s;
        if here && token < p.rows {
            store(token * p.outputs + at.y, acc[s].x);
            if at.z != NOWHERE {
                store(token * p.outputs + at.z, acc[s].y);
            }
        }
    }
}
