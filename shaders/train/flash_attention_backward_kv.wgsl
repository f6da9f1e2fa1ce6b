// Computes: d_v_j = sum_i weight_ij d_out_i and d_k_j = scale * sum_i g_ij q_i over the tokens i that see position j, of all query
//           heads of its key/value head, with weight_ij = exp(s_ij - lse_i) and g_ij as flash_attention_backward_q.wgsl has it
// Inputs: queries, keys and values, gradients of outputs, logarithms of sums, deltas
// Work split: one workgroup owns 32 positions of one key/value head; it goes through the query heads one after the other, and
//             through the tokens of each once, 32 at a time
// Shapes: qkv and d_qkv [n_seqs, tokens, heads + 2 kv_heads, head_dim]; d_out [n_seqs, tokens, heads, head_dim], or
//         [n_seqs, tokens, 2, heads, head_dim / 2] of complex heads; lse and delta [n_seqs, heads, tokens]: f32

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> d_out: array<f32>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_qkv: array<f32>;

override SOFTCAP: f32; // of scores; 0: none

// weights and gradients of the scores of both rows of an invocation
fn weigh(lane: u32, head: u32, products: mat2x4<f32>, others: mat2x4<f32>, first: u32, start: u32) -> array<mat2x4<f32>, 2> {
    var rows = array(products, others);
    var both: array<mat2x4<f32>, 2>;
    let token = start + lane % 8u + vec4(0u, 8u, 16u, 24u);
    let at = head * p.tokens + min(token, vec4(p.tokens - 1u));
    let log_sum = vec4(lse[at.x], lse[at.y], lse[at.z], lse[at.w]);
    let mean = vec4(delta[at.x], delta[at.y], delta[at.z], delta[at.w]);
    for (var r = 0u; r < 2u; r++) {
        let position = vec4(first + lane / 8u + 16u * r);
        let seen = (token >= position) & (token - position < vec4(p.window)) & (token < vec4(p.tokens));
        both[r] = flash_gradient(rows[0][r], rows[1][r], log_sum, mean, seen);
    }
    return both;
}

// number 0 (weights) or 1 (gradients) of both rows, to where the sums find them
fn put(lane: u32, both: array<mat2x4<f32>, 2>, which: u32) {
    var rows = both;
    workgroupBarrier();
    for (var r = 0u; r < 2u; r++) {
        for (var c = 0u; c < 4u; c++) {
            flash_tile_weights[flash_tile_place(lane, r, c)] = rows[r][which][c];
        }
    }
}

@compute @workgroup_size(WIDTH)
fn flash_attention_backward_kv(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let kv = group % (p.n_seqs * p.kv_heads);
    let first = group / (p.n_seqs * p.kv_heads) * TILE;
    if first >= p.tokens {
        return;
    }
    let share = p.heads / p.kv_heads;
    let end = first + min(p.tokens - first, min(p.window, p.tokens) + TILE - 1u); // of the tokens that see these positions
    let chunks = (p.head_dim + CHUNK - 1u) / CHUNK;
    var d_k: array<mat2x4<f32>, 8>;
    var d_v: array<mat2x4<f32>, 8>;
    for (var head = kv * share; head < (kv + 1u) * share; head++) {
        for (var start = first; start < end; start += TILE) {
            let products = flash_tile_products(lane, head, vec2(KEY, QUERY), vec2(first, start), p.head_dim);
            let others = flash_tile_products(lane, head, vec2(VALUE, GRADIENT), vec2(first, start), p.head_dim);
            let both = weigh(lane, head, products, others, first, start);
            put(lane, both, 0u);
            for (var i = 0u; i < chunks; i++) {
                flash_tile_stage(lane, head, GRADIENT, start, i * CHUNK);
                d_v[i] = flash_tile_sums(lane, d_v[i]);
            }
            put(lane, both, 1u);
            for (var i = 0u; i < chunks; i++) {
                flash_tile_stage(lane, head, QUERY, start, i * CHUNK);
                d_k[i] = flash_tile_sums(lane, d_k[i]);
            }
        }
    }
    for (var i = 0u; i < chunks; i++) {
        flash_gradient_write(lane, vec4(kv * share, KEY, first, i * CHUNK), d_k[i], p.scale);
        flash_gradient_write(lane, vec4(kv * share, VALUE, first, i * CHUNK), d_v[i], 1.0);
    }
}
