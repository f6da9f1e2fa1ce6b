// Computes: y = U x + W conj(x) for many tokens in integers, U and W in two stages: exact sums by cooperative matrices
// Inputs: codes and scales of a stack of layers; q, the byte planes of the tokens' integers; absmax, what these are worth
// Work split: ROWS * PARTS subgroups make a workgroup; each owns 8 complex rows, or one of PARTS shares of their words, and
//             NB * 16 byte planes of tokens
// Shapes: codes [shard_rows, words] of 4 words; q [rows, 2 halves, BYTES, words] of 16 bytes; absmax [rows];
//         scale_blocks [scale_blocks, 1 + 4 * 2]; y [rows, outputs]
enable f16;
enable wgpu_int16;
enable wgpu_cooperative_matrix;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> codes: array<Codes>;
@group(0) @binding(2) var<storage, read_write> q: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> absmax: array<u32>;
@group(0) @binding(4) var<storage, read> scale_blocks: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

override NB: u32;    // tiles of 16 byte planes, 1 or 2
override ROWS: u32;  // subgroups with rows of their own, at least NB
override PARTS: u32; // subgroups that share rows: each takes a part of the words
override WIDTH = 32u * ROWS * PARTS;

// What an invocation does in its workgroup.
struct Share {
    source: Source,
    member: u32, // of its part
    at: Tiles,
}

fn share_of(index: u32, first_row: u32, first_plane: u32) -> Share {
    let lane = index % 32u;
    let subgroup = index / 32u;
    let member = index % (32u * ROWS);
    let row = min(first_row + subgroup % ROWS * 8u + lane % 8u, p.shard_rows - 1u);
    let a = subgroup * TILE_A;
    return Share(
        Source(row * p.words, lane / 8u, first_plane + member / 8u, member % 8u),
        member,
        Tiles(a + lane % 8u * PITCH_A + lane / 8u, a, subgroup / ROWS * TILE_B),
    );
}

@compute @workgroup_size(WIDTH)
fn phase_gemm_bits(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let first_row = (wg.x + wg.y * nwg.x) * 8u * ROWS;
    let first_plane = wg.z * 16u * NB;
    let share = share_of(index, first_row, first_plane);
    let source = share.source;
    let member = share.member;
    let at = share.at;
    // Every part goes through equally many rounds of two blocks; blocks beyond the end are zeros.
    let rounds = ((p.words + 3u) / 4u + 2u * PARTS - 1u) / (2u * PARTS);
    let begin = 2u * rounds * (index / (32u * ROWS));
    let pairs = 2u * p.words;
    bit_clear_totals(index);
    var a = bit_load(source, begin);
    var b = bit_load(source, begin + 1u);
    let outputs = bit_outputs(index, first_row, first_plane);
    let scales = bit_all_scales(outputs, 0u);
    var total = vec4(0i);
    var s: Products;
    for (var i = 0u; i < rounds; i++) {
        let pair = 8u * (begin + 2u * i) + source.pair;
        total += bit_put_bytes(at.b, member, a.bytes, pair < pairs);
        workgroupBarrier();
        let c = bit_load(source, begin + 2u * i + 2u);
        let d = bit_load(source, begin + 2u * i + 3u);
        bit_add_block(&s, at, a.codes);
        workgroupBarrier();
        total += bit_put_bytes(at.b, member, b.bytes, pair + 8u < pairs);
        workgroupBarrier();
        bit_add_block(&s, at, b.codes);
        workgroupBarrier();
        a = c;
        b = d;
    }
    bit_add_totals(member, total);
    bit_finish(&s, index, first_row, first_plane, outputs, scales);
}
