// Eight neighbouring factors on their way from memory to tiles of 128 by 64. A tile lies as [128, 64] with rows of PITCH, or,
// transposed, as [64, 128] with rows of SIDE vectors; the kernel says which lie how.
// Requires: quad, tile_a, tile_b, A_TRANSPOSED, A_WIDE, B_TRANSPOSED, B_WIDE, PITCH
// Provides: Factors, coop_eight_place, coop_eight_offset, coop_put, coop_rows_of_a, coop_rows_of_b

const SIDE = 34u; // vec4s from row to row of a transposed tile: 128 halves and 8 more

// Eight factors, in f16 (then `high` is not used) or in f32.
struct Factors {
    low: vec4<u32>,
    high: vec4<u32>,
}

// (row, k) within the tile of the eight factors `s` of an invocation.
fn coop_eight_place(index: u32, s: u32, swapped: bool) -> vec2<u32> {
    let plain = vec2(index / 8u + 64u * s, 8u * (index % 8u));
    return select(plain, vec2(8u * (index % 16u), index / 16u + 32u * s), swapped);
}

// The offset of (row, k) in a matrix with rows of `stride`.
fn coop_eight_offset(at: vec2<u32>, stride: u32, swapped: bool) -> u32 {
    return select(at.x * stride + at.y, at.y * stride + at.x, swapped);
}

// Where the eight factors lie in the tile, in vectors.
fn coop_eight_dst(index: u32, s: u32, swapped: bool) -> u32 {
    let plain = (index / 8u + 64u * s) * PITCH + 2u * (index % 8u);
    return select(plain, (index / 16u + 32u * s) * SIDE + 2u * (index % 16u), swapped);
}

fn coop_eight_low(p: Factors, wide: bool) -> vec4<f16> {
    if wide {
        return vec4<f16>(bitcast<vec4<f32>>(p.low));
    }
    return quad(p.low.x, p.low.y);
}

fn coop_eight_high(p: Factors, wide: bool) -> vec4<f16> {
    if wide {
        return vec4<f16>(bitcast<vec4<f32>>(p.high));
    }
    return quad(p.low.z, p.low.w);
}

fn coop_put(index: u32, s: u32, x: Factors, y: Factors) {
    let to_a = coop_eight_dst(index, s, A_TRANSPOSED);
    tile_a[to_a] = coop_eight_low(x, A_WIDE);
    tile_a[to_a + 1u] = coop_eight_high(x, A_WIDE);
    let to_b = coop_eight_dst(index, s, B_TRANSPOSED);
    tile_b[to_b] = coop_eight_low(y, B_WIDE);
    tile_b[to_b + 1u] = coop_eight_high(y, B_WIDE);
}

// 16 rows of a tile from `row` on, by 16 factors from vector k on.
fn coop_rows_of_a(row: u32, k: u32) -> coop_mat16x16<f16, A> {
    if A_TRANSPOSED {
        return coopLoad<coop_mat16x16<f16, A>>(&tile_a[4u * k * SIDE + row / 4u], SIDE);
    }
    return coopLoadT<coop_mat16x16<f16, A>>(&tile_a[row * PITCH + k], PITCH);
}

fn coop_rows_of_b(row: u32, k: u32) -> coop_mat16x16<f16, B> {
    if B_TRANSPOSED {
        return coopLoadT<coop_mat16x16<f16, B>>(&tile_b[4u * k * SIDE + row / 4u], SIDE);
    }
    return coopLoad<coop_mat16x16<f16, B>>(&tile_b[row * PITCH + k], PITCH);
}
