// Pieces of eight factors on their way from memory to tiles of 128 by 64. A tile lies as [128, 64] with rows of PITCH,
// or, turned, as [64, 128] with rows of SIDE vectors. Features coop_tile.wgsl, quad.wgsl, and a kernel that says which lie
// how.

const SIDE = 34u; // vec4s from row to row of a turned tile: 128 halves and 8 more

// eight factors in f16 in the first half, or in f32
struct Piece {
    low: vec4<u32>,
    high: vec4<u32>,
}

// (row, k) within the tile of the piece `s` of an invocation
fn piece_place(index: u32, s: u32, turned: bool) -> vec2<u32> {
    let plain = vec2(index / 8u + 64u * s, 8u * (index % 8u));
    return select(plain, vec2(8u * (index % 16u), index / 16u + 32u * s), turned);
}

// of (row, k) in a matrix with rows of `stride`
fn piece_offset(at: vec2<u32>, stride: u32, turned: bool) -> u32 {
    return select(at.x * stride + at.y, at.y * stride + at.x, turned);
}

// where it lies in the tile, in vectors
fn piece_at(index: u32, s: u32, turned: bool) -> u32 {
    let plain = (index / 8u + 64u * s) * PITCH + 2u * (index % 8u);
    return select(plain, (index / 16u + 32u * s) * SIDE + 2u * (index % 16u), turned);
}

fn piece_low(p: Piece, wide: bool) -> vec4<f16> {
    if wide {
        return vec4<f16>(bitcast<vec4<f32>>(p.low));
    }
    return quad(p.low.x, p.low.y);
}

fn piece_high(p: Piece, wide: bool) -> vec4<f16> {
    if wide {
        return vec4<f16>(bitcast<vec4<f32>>(p.high));
    }
    return quad(p.low.z, p.low.w);
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
