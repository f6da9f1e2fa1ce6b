// y = U x + W conj(x) for many tokens, U and W in two stages, x in integers: exact sums by cooperative matrices
// one workgroup owns 16 complex rows, four to a subgroup, and NB times 16 byte planes of tokens
// codes [piece_rows, words] of 4 words; q [rows, 2, PLANES, words] of 16 bytes; cells [cells, 1 + 4 2]; y [rows, outputs]
enable f16;
enable wgpu_int16;
enable wgpu_cooperative_matrix;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> codes: array<Codes>;
@group(0) @binding(2) var<storage, read_write> q: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> absmax: array<u32>;
@group(0) @binding(4) var<storage, read> cells: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

override NB: u32; // tiles of 16 byte planes, 1 or 2

const WIDTH = 128u;
const STAGE = 8u;  // words of a row at a time
const PITCH = 34u; // vec4s from row to row of a tile: 8 words and 8 halves more

// an invocation's codes of four stages, on their way while others are multiplied
struct Ahead {
    c0: Codes,
    c1: Codes,
    c2: Codes,
    c3: Codes,
}

// beyond the end of a row any codes will do, the tokens are zero there
fn load_codes(row: u32, word: u32) -> Ahead {
    let base = min(row, p.piece_rows - 1u) * p.words;
    let last = p.words - 1u;
    return Ahead(
        codes[base + min(word, last)],
        codes[base + min(word + STAGE, last)],
        codes[base + min(word + 2u * STAGE, last)],
        codes[base + min(word + 3u * STAGE, last)],
    );
}

// an invocation's bytes of a stage: one word of a plane in each tile
struct Bytes {
    x0: vec4<u32>,
    x1: vec4<u32>,
}

fn load_plane(plane: u32, word: u32) -> vec4<u32> {
    if plane < p.rows * 2u * PLANES && word < p.words {
        return q[plane * p.words + word];
    }
    return vec4(0u);
}

fn load_bytes(plane: u32, word: u32) -> Bytes {
    var b: Bytes;
    b.x0 = load_plane(plane, word);
    if NB > 1u {
        b.x1 = load_plane(plane + 16u, word);
    }
    return b;
}

// puts them, and returns their sums
fn put_stage(index: u32, b: Bytes) -> vec2<i32> {
    let plane = index / STAGE;
    let word = index % STAGE;
    let signed = PLANES == 1u || plane % 2u == 0u;
    let to = plane * PITCH + 4u * word;
    put_bytes(to, word / 4u, b.x0, signed);
    var sum = vec2(sum_of_bytes(b.x0, signed), 0i);
    if NB > 1u {
        put_bytes(to + 16u * PITCH, word / 4u, b.x1, signed);
        sum.y = sum_of_bytes(b.x1, signed);
    }
    return sum;
}

fn bits(at: u32, k: u32) -> coop_mat16x16<f16, A> {
    return coopLoadT<coop_mat16x16<f16, A>>(&tile_a[at + 4u * k], PITCH);
}

fn bytes(at: u32, k: u32) -> coop_mat16x16<f16, B> {
    return coopLoad<coop_mat16x16<f16, B>>(&tile_b[at + 4u * k], PITCH);
}

// a stage of 16 bit planes by 16 byte planes; word by word, because drivers do not unroll a loop around matrices
fn add_stage(sum: coop_mat16x16<f32, C>, a: u32, b: u32) -> coop_mat16x16<f32, C> {
    let s0 = coopMultiplyAdd(bits(a, 0u), bytes(b, 0u), sum);
    let s1 = coopMultiplyAdd(bits(a, 1u), bytes(b, 1u), s0);
    let s2 = coopMultiplyAdd(bits(a, 2u), bytes(b, 2u), s1);
    let s3 = coopMultiplyAdd(bits(a, 3u), bytes(b, 3u), s2);
    let s4 = coopMultiplyAdd(bits(a, 4u), bytes(b, 4u), s3);
    let s5 = coopMultiplyAdd(bits(a, 5u), bytes(b, 5u), s4);
    let s6 = coopMultiplyAdd(bits(a, 6u), bytes(b, 6u), s5);
    return coopMultiplyAdd(bits(a, 7u), bytes(b, 7u), s6);
}

@compute @workgroup_size(WIDTH)
fn phase_gemm_bits(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let first_row = (wg.x + wg.y * nwg.x) * 16u;
    let first_plane = wg.z * 16u * NB;
    let lane = lane_of(index % 32u);
    let row = first_row + index / 32u * 4u + lane.row;
    let own = index / 32u * 32u * PITCH;
    let upper = own + 16u * PITCH;
    let plane = first_plane + index / STAGE;
    clear_totals(index);
    var now: Ahead;
    var next = load_codes(row, lane.word);
    var x = load_bytes(plane, index % STAGE);
    var total = vec2(0i);
    var s00: coop_mat16x16<f32, C>;
    var s10: coop_mat16x16<f32, C>;
    var s01: coop_mat16x16<f32, C>;
    var s11: coop_mat16x16<f32, C>;
    for (var first = 0u; first < p.words; first += STAGE) {
        if first % (4u * STAGE) == 0u {
            now = next;
            next = load_codes(row, first + 4u * STAGE + lane.word);
        }
        workgroupBarrier();
        put_codes(own + lane.row * PITCH + 4u * lane.word, lane.swap, now.c0);
        total += put_stage(index, x);
        now = Ahead(now.c1, now.c2, now.c3, now.c3);
        workgroupBarrier();
        x = load_bytes(plane, first + STAGE + index % STAGE);
        s00 = add_stage(s00, own, 0u);
        s10 = add_stage(s10, upper, 0u);
        if NB > 1u {
            s01 = add_stage(s01, own, 16u * PITCH);
            s11 = add_stage(s11, upper, 16u * PITCH);
        }
    }
    add_totals(index / STAGE, total);
    finish(s00, s10, 0u, index, first_row, first_plane);
    if NB > 1u {
        finish(s01, s11, 16u, index, first_row, first_plane + 16u);
    }
}
