// part = (max, sum_t e_t, sum_t e_t v_t) over a range of positions t, with e_t = exp(q . k_t / sqrt(head_dim) - max)
// one workgroup owns one range of one (row, head); empty ranges write a sum of 0
// qkv [rows, heads + 2 kv_heads, head_dim] f32; caches [context, kv_heads, head_dim] f32; parts [rows, heads, splits, 2 + head_dim] f32

struct Params {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32, // even, at most 256
    position: u32, // of row 0
    scale: f32,
    first: u32,    // cache row of position 0
    splits: u32,
    range: u32,    // positions per split
    offset: u32,   // row of qkv that row 0 is
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> k_cache: array<KvPair>;
@group(0) @binding(3) var<storage, read> v_cache: array<KvPair>;
@group(0) @binding(4) var<storage, read_write> parts: array<vec2<f32>>;

@compute @workgroup_size(WIDTH)
fn attention_split(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    if group >= p.rows * p.heads * p.splits {
        return;
    }
    let split = group % p.splits;
    let head = group / p.splits % p.heads;
    let row = group / p.splits / p.heads;
    let begin = split * p.range;
    let end = min(begin + p.range, p.position + row + 1u);
    let pairs = p.head_dim / 2u;
    let found = attend(lane, p.offset + row, head, begin, end);
    let at = group * (1u + pairs);
    if lane == 0u {
        parts[at] = vec2(found.top, found.sums.x);
    }
    if lane < pairs {
        parts[at + 1u + lane] = found.sums.yz;
    }
}
