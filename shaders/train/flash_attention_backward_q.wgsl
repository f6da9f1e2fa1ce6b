// Computes: d_q = scale * sum_j g_j k_j and delta = sum(out * d_out), with g_j = slope_j * exp(s_j - lse) * (d_out . v_j - delta)
//           over what a token sees, scores s_j as flash_attention.wgsl has them, and slope_j = 1, or 1 - (s_j / SOFTCAP)^2
// Inputs: queries, keys and values, gradients of outputs, outputs, logarithms of sums
// Work split: one workgroup owns 32 tokens of one head, and goes through the keys once, 32 at a time
// Shapes: qkv and d_qkv [n_seqs, tokens, heads + 2 kv_heads, head_dim]; out and d_out [n_seqs, tokens, heads, head_dim], or
//         [n_seqs, tokens, 2, heads, head_dim / 2] of complex heads; lse and delta [n_seqs, heads, tokens]: f32

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> d_out: array<f32>;
@group(0) @binding(3) var<storage, read> out: array<f32>;
@group(0) @binding(4) var<storage, read> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> delta: array<f32>;
@group(0) @binding(6) var<storage, read_write> d_qkv: array<f32>;

override SOFTCAP: f32; // of scores; 0: none

var<workgroup> row_parts: array<f32, 128>; // [32 rows, 4]
var<workgroup> row_delta: array<f32, 32>;

// what a token has once: its delta, which other kernels read too
fn prepare_rows(lane: u32, head: u32, first: u32) {
    let token = first + lane / 4u;
    var sum = 0.0;
    for (var j = lane % 4u; j < p.head_dim && token < p.tokens; j += 4u) {
        let at = flash_values_out(head, token, j);
        sum += out[at] * d_out[at];
    }
    row_parts[lane] = sum;
    workgroupBarrier();
    if lane % 4u == 0u {
        let total = (row_parts[lane] + row_parts[lane + 1u]) + (row_parts[lane + 2u] + row_parts[lane + 3u]);
        row_delta[lane / 4u] = total;
        if token < p.tokens {
            delta[head * p.tokens + token] = total;
        }
    }
    workgroupBarrier();
}

// gradients of the products of both rows of an invocation, from those and from the products of gradients and values
fn put_gradients(lane: u32, head: u32, products: mat2x4<f32>, others: mat2x4<f32>, first: u32, start: u32) {
    var rows = array(products, others);
    for (var r = 0u; r < 2u; r++) {
        let row = lane / 8u + 16u * r;
        let ends = vec2(lse[head * p.tokens + min(first + row, p.tokens - 1u)], row_delta[row]);
        let token = vec4(first + row);
        let position = start + lane % 8u + vec4(0u, 8u, 16u, 24u);
        let seen = (position <= token) & (token - position < vec4(p.window));
        let g = flash_gradient(rows[0][r], rows[1][r], vec4(ends.x), vec4(ends.y), seen)[1];
        for (var c = 0u; c < 4u; c++) {
            flash_tile_weights[flash_tile_place(lane, r, c)] = g[c];
        }
    }
}

@compute @workgroup_size(WIDTH)
fn flash_attention_backward_q(
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
    prepare_rows(lane, head, first);
    let low = first + 1u - min(first + 1u, p.window);
    var sums: array<mat2x4<f32>, 8>;
    for (var start = low; start < min(first + TILE, p.tokens); start += TILE) {
        let products = flash_tile_products(lane, head, vec2(QUERY, KEY), vec2(first, start), p.head_dim);
        let others = flash_tile_products(lane, head, vec2(GRADIENT, VALUE), vec2(first, start), p.head_dim);
        put_gradients(lane, head, products, others, first, start);
        for (var i = 0u; i < (p.head_dim + CHUNK - 1u) / CHUNK; i++) {
            flash_tile_stage(lane, head, KEY, start, i * CHUNK);
            sums[i] = flash_tile_sums(lane, sums[i]);
        }
    }
    for (var i = 0u; i < (p.head_dim + CHUNK - 1u) / CHUNK; i++) {
        flash_gradient_write(lane, vec4(head, QUERY, first, i * CHUNK), sums[i], p.scale);
    }
}
