// out = sum_t softmax_t(q . k_t / sqrt(head_dim)) v_t over positions t = 0..=position + row
// one workgroup owns one (row, head)
// qkv [rows, heads + 2 kv_heads, head_dim] f32; caches [context, kv_heads, head_dim] f32; out [rows, heads, head_dim] f32

struct Params {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32, // even, at most 256
    position: u32, // of row 0
    scale: f32,
    first: u32,    // cache row of position 0
    offset: u32,   // row of qkv and out that row 0 is
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> k_cache: array<KvPair>;
@group(0) @binding(3) var<storage, read> v_cache: array<KvPair>;
@group(0) @binding(4) var<storage, read_write> out: array<vec2<f32>>;

@compute @workgroup_size(WIDTH)
fn attention(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    if group >= p.rows * p.heads {
        return;
    }
    let row = group / p.heads;
    let found = attend(lane, p.offset + row, group % p.heads, 0u, p.position + row + 1u);
    if lane < p.head_dim / 2u {
        out[(p.offset * p.heads + group) * (p.head_dim / 2u) + lane] = found.sums.yz / found.sums.x;
    }
}
