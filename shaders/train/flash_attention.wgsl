// Computes: out = sum_j weight_j v_j, weight_j = exp(s_j - lse), over the last `window` positions j <= i of a token's sequence,
//           where s_j = scale * q . k_j, or SOFTCAP * tanh(s_j / SOFTCAP), and lse = log sum_j exp(s_j)
// Inputs: queries, keys and values of all sequences
// Work split: one workgroup owns 32 tokens of one head, and goes through the keys once, 32 at a time
// Shapes: qkv [n_seqs, tokens, heads + 2 kv_heads, head_dim]; out [n_seqs, tokens, heads, head_dim], or
//         [n_seqs, tokens, 2, heads, head_dim / 2] of complex heads; lse [n_seqs, heads, tokens]: f32

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

override SOFTCAP: f32; // of scores; 0: none

const UNSEEN = -1e30; // below every score, and above what hidden ones become

var<workgroup> row_parts: array<f32, 128>;  // [32 rows, 4]
var<workgroup> row_factors: array<f32, 32>; // of sums

fn flash_at(head: u32, kind: u32, token: u32, j: u32) -> f32 {
    return flash_values_at(head, kind, token, j);
}

// scores of both rows of an invocation, to where weights will lie
fn put_scores(lane: u32, products: mat2x4<f32>, first: u32, start: u32) {
    var rows = products;
    for (var r = 0u; r < 2u; r++) {
        let token = vec4(first + lane / 8u + 16u * r);
        let position = start + lane % 8u + vec4(0u, 8u, 16u, 24u);
        let seen = (position <= token) & (token - position < vec4(p.window));
        let s = select(vec4(-3e38), softcap_of(rows[r] * p.scale), seen);
        for (var c = 0u; c < 4u; c++) {
            flash_tile_weights[flash_tile_place(lane, r, c)] = s[c];
        }
    }
}

// Scores become weights: lane / 4 is the row now, lane % 4 says which eight. (reference, sum of this lane's weights)
fn weigh(lane: u32, before: vec2<f32>) -> vec2<f32> {
    let at = lane / 4u * 33u + lane % 4u * 8u;
    workgroupBarrier();
    var top = before.x;
    for (var i = 0u; i < 8u; i++) {
        top = max(top, flash_tile_weights[at + i]);
    }
    row_parts[lane] = top;
    workgroupBarrier();
    let row = lane / 4u * 4u;
    top = max(max(row_parts[row], row_parts[row + 1u]), max(row_parts[row + 2u], row_parts[row + 3u]));
    let factor = exp(before.x - top);
    row_factors[lane / 4u] = factor;
    var sum = before.y * factor;
    for (var i = 0u; i < 8u; i++) {
        let weight = exp(flash_tile_weights[at + i] - top);
        flash_tile_weights[at + i] = weight;
        sum += weight;
    }
    return vec2(top, sum);
}

// The logarithm of a row's sum, and in `row_factors` what sums of values are to be multiplied by.
fn finish(lane: u32, head: u32, first: u32, ends: vec2<f32>) {
    workgroupBarrier();
    row_parts[lane] = ends.y;
    workgroupBarrier();
    let token = first + lane / 4u;
    if lane % 4u == 0u {
        let total = (row_parts[lane] + row_parts[lane + 1u]) + (row_parts[lane + 2u] + row_parts[lane + 3u]);
        row_factors[lane / 4u] = 1.0 / total;
        if token < p.tokens {
            lse[head * p.tokens + token] = ends.x + log(total);
        }
    }
    workgroupBarrier();
}

@compute @workgroup_size(WIDTH)
fn flash_attention(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let head = group % (p.n_seqs * p.heads);
    let first = group / (p.n_seqs * p.heads) * TILE;
    if first >= p.tokens {
        return;
    }
    let low = first + 1u - min(first + 1u, p.window);
    var sums: array<mat2x4<f32>, 8>;
    var ends = vec2(UNSEEN, 0.0);
    for (var start = low; start < min(first + TILE, p.tokens); start += TILE) {
        let products = flash_tile_products(lane, head, vec2(QUERY, KEY), vec2(first, start), p.head_dim);
        put_scores(lane, products, first, start);
        ends = weigh(lane, ends);
        for (var i = 0u; i < (p.head_dim + CHUNK - 1u) / CHUNK; i++) {
            flash_tile_stage(lane, head, VALUE, start, i * CHUNK);
            let factors = vec2(row_factors[lane / 8u], row_factors[lane / 8u + 16u]);
            sums[i] = flash_tile_sums(lane, mat2x4(sums[i][0] * factors.x, sums[i][1] * factors.y));
        }
    }
    finish(lane, head, first, ends);
    for (var i = 0u; i < 8u * ((p.head_dim + CHUNK - 1u) / CHUNK); i++) {
        let token = first + lane / 8u + 16u * (i % 2u);
        let j = i / 8u * CHUNK + lane % 8u * 4u + i / 2u % 4u;
        if token < p.tokens && j < p.head_dim {
            let factor = row_factors[lane / 8u + 16u * (i % 2u)];
            out[flash_values_out(head, token, j)] = sums[i / 8u][i % 2u][i / 2u % 4u] * factor;
        }
    }
}
