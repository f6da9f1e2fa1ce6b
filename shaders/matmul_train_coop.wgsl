// c[i, j] (+)= sum_k a[i, k] b[j, k], factors in f16, sums in f32: y = x W^T, dx = dy W and dW = dy^T x alike
// one workgroup owns 128 x 128 of c, each of its 16 subgroups 32 x 32 of them
// a [m, k] or, turned, [k, m]; b [n, k] or, turned, [k, n]: f16, or f32 if wide; c [m, n] f32; m, n multiples of 16, k of 8
enable f16;
enable wgpu_cooperative_matrix;

struct Params {
    m: u32,
    n: u32,
    k: u32,
    causal: u32,  // 0 no; 1 no blocks of c above the diagonal; 2 no k beyond the block of i; 3 no k before it
    heads: u32,   // of a text
    share: u32,   // consecutive heads that share a b
    a_first: u32,
    a_stride: u32,
    a_head: u32,
    a_text: u32,
    b_first: u32,
    b_stride: u32,
    b_head: u32,
    b_text: u32,
    c_first: u32,
    c_stride: u32,
    c_head: u32,
    c_text: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

override A_TURNED: bool = false;
override B_TURNED: bool = false;
override A_WIDE: bool = false;
override B_WIDE: bool = false;
override ACCUMULATE: bool = false;

// piece s of an invocation, from (row, k) on; zero from k = end on
fn fetch_a(base: u32, index: u32, s: u32, origin: vec2<u32>, end: u32) -> Piece {
    let to = piece_of(index, s, origin, vec2(p.m, end), A_TURNED);
    let at = base + piece_offset(to.xy, p.a_stride, A_TURNED);
    if to.z == 1u && A_WIDE {
        return Piece(a[at / 4u], a[at / 4u + 1u]);
    }
    return Piece(select(vec4(0u), a[at / 8u], to.z == 1u), vec4(0u));
}

fn fetch_b(base: u32, index: u32, s: u32, origin: vec2<u32>, end: u32) -> Piece {
    let to = piece_of(index, s, origin, vec2(p.n, end), B_TURNED);
    let at = base + piece_offset(to.xy, p.b_stride, B_TURNED);
    if to.z == 1u && B_WIDE {
        return Piece(b[at / 4u], b[at / 4u + 1u]);
    }
    return Piece(select(vec4(0u), b[at / 8u], to.z == 1u), vec4(0u));
}

fn put(index: u32, s: u32, x: Piece, y: Piece) {
    let to_a = piece_at(index, s, A_TURNED);
    tile_a[to_a] = piece_low(x, A_WIDE);
    tile_a[to_a + 1u] = piece_high(x, A_WIDE);
    let to_b = piece_at(index, s, B_TURNED);
    tile_b[to_b] = piece_low(y, B_WIDE);
    tile_b[to_b + 1u] = piece_high(y, B_WIDE);
}

// 16 rows of a tile from `row` on, by 16 factors from vector k on
fn rows_of_a(row: u32, k: u32) -> coop_mat16x16<f16, A> {
    if A_TURNED {
        return coopLoad<coop_mat16x16<f16, A>>(&tile_a[4u * k * SIDE + row / 4u], SIDE);
    }
    return coopLoadT<coop_mat16x16<f16, A>>(&tile_a[row * PITCH + k], PITCH);
}

fn rows_of_b(row: u32, k: u32) -> coop_mat16x16<f16, B> {
    if B_TURNED {
        return coopLoadT<coop_mat16x16<f16, B>>(&tile_b[4u * k * SIDE + row / 4u], SIDE);
    }
    return coopLoad<coop_mat16x16<f16, B>>(&tile_b[row * PITCH + k], PITCH);
}

fn put_sums(sums: coop_mat16x16<f32, C>, base: u32, row: u32, column: u32) {
    if row >= p.m || column >= p.n {
        return;
    }
    let at = base + row * p.c_stride + column;
    let stride = p.c_stride;
    var result = sums;
    if ACCUMULATE {
        let before = coopLoadT<coop_mat16x16<f32, C>>(&c[at], stride);
        result = result + before;
    }
    let sum = result;
    coopStoreT(sum, &c[at], stride);
}

@compute @workgroup_size(WIDTH)
fn matmul_train_coop(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let tiles = (vec2(p.m, p.n) + TILE - 1u) / TILE;
    let tile = tile_of(group, tiles.x, tiles.y) * TILE;
    if group >= tiles.x * tiles.y || (p.causal == 1u && tile.y > tile.x) {
        return;
    }
    let part = vec2(wg.z / p.heads, wg.z % p.heads); // text, head
    let a_base = p.a_first + part.x * p.a_text + part.y * p.a_head;
    let b_base = p.b_first + part.x * p.b_text + part.y / p.share * p.b_head;
    let first = select(0u, tile.x, p.causal == 3u);
    let end = select(p.k, min(p.k, tile.x + TILE), p.causal == 2u);
    let mine = vec2(index / 32u / 4u, index / 32u % 4u) * 32u;
    var c00: coop_mat16x16<f32, C>;
    var c01: coop_mat16x16<f32, C>;
    var c10: coop_mat16x16<f32, C>;
    var c11: coop_mat16x16<f32, C>;
    var x0 = fetch_a(a_base, index, 0u, vec2(tile.x, first), end);
    var x1 = fetch_a(a_base, index, 1u, vec2(tile.x, first), end);
    var y0 = fetch_b(b_base, index, 0u, vec2(tile.y, first), end);
    var y1 = fetch_b(b_base, index, 1u, vec2(tile.y, first), end);
    for (var at = first; at < end; at += 64u) {
        workgroupBarrier();
        put(index, 0u, x0, y0);
        put(index, 1u, x1, y1);
        workgroupBarrier();
        // what comes next travels while this is multiplied
        x0 = fetch_a(a_base, index, 0u, vec2(tile.x, at + 64u), end);
        x1 = fetch_a(a_base, index, 1u, vec2(tile.x, at + 64u), end);
        y0 = fetch_b(b_base, index, 0u, vec2(tile.y, at + 64u), end);
        y1 = fetch_b(b_base, index, 1u, vec2(tile.y, at + 64u), end);
        for (var k = 0u; k < 16u; k += 4u) {
            let a0 = rows_of_a(mine.x, k);
            let a1 = rows_of_a(mine.x + 16u, k);
            let b0 = rows_of_b(mine.y, k);
            let b1 = rows_of_b(mine.y + 16u, k);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
        }
    }
    let base = p.c_first + part.x * p.c_text + part.y * p.c_head;
    let to = tile + mine;
    put_sums(c00, base, to.x, to.y);
    put_sums(c01, base, to.x, to.y + 16u);
    put_sums(c10, base, to.x + 16u, to.y);
    put_sums(c11, base, to.x + 16u, to.y + 16u);
}
