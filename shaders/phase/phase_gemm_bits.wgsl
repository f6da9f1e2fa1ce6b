// y = U x + W conj(x) for many tokens, U and W in two stages, x in integers: exact sums by cooperative matrices
// one subgroup owns 8 complex rows, or a part of their words, and NB times 16 byte planes of tokens
// codes [piece_rows, words] of 4 words; q [rows, 2, PLANES, words] of 16 bytes; cells [cells, 1 + 4 2]
// y [rows, outputs]; ROWS times PARTS subgroups make a workgroup
enable f16;
enable wgpu_int16;
enable wgpu_cooperative_matrix;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> codes: array<Codes>;
@group(0) @binding(2) var<storage, read_write> q: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> absmax: array<u32>;
@group(0) @binding(4) var<storage, read> cells: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

override NB: u32;    // tiles of 16 byte planes, 1 or 2
override ROWS: u32;  // subgroups with rows of their own, at least NB
override PARTS: u32; // subgroups that share rows
override WIDTH = 32u * ROWS * PARTS;

// what an invocation has of its workgroup
struct Share {
    source: Source,
    member: u32, // of its part
    at: Tiles,
}

fn share_of(index: u32, first_row: u32, first_plane: u32) -> Share {
    let lane = index % 32u;
    let subgroup = index / 32u;
    let member = index % (32u * ROWS);
    let row = min(first_row + subgroup % ROWS * 8u + lane % 8u, p.piece_rows - 1u);
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
    // as many rounds of two blocks for every part; those beyond the end are zeros
    let rounds = ((p.words + 3u) / 4u + 2u * PARTS - 1u) / (2u * PARTS);
    let begin = 2u * rounds * (index / (32u * ROWS));
    let pairs = 2u * p.words;
    clear_totals(index);
    var a = load(source, begin);
    var b = load(source, begin + 1u);
    let aims = aim_own(index, first_row, first_plane);
    let scales = scales_own(aims, 0u);
    var total = vec4(0i);
    var s: Products;
    for (var i = 0u; i < rounds; i++) {
        let pair = 8u * (begin + 2u * i) + source.pair;
        total += put_bytes(at.b, member, a.bytes, pair < pairs);
        workgroupBarrier();
        let c = load(source, begin + 2u * i + 2u);
        let d = load(source, begin + 2u * i + 3u);
        add_block(&s, at, a.codes);
        workgroupBarrier();
        total += put_bytes(at.b, member, b.bytes, pair + 8u < pairs);
        workgroupBarrier();
        add_block(&s, at, b.codes);
        workgroupBarrier();
        a = c;
        b = d;
    }
    add_totals(member, total);
    finish(&s, index, first_row, first_plane, aims, scales);
}
