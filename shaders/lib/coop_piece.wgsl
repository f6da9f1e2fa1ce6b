// Pieces of eight factors on their way from memory to tiles of 128 by 64. A tile lies as [128, 64] with rows of PITCH, or,
// turned, as [64, 128] with rows of SIDE vectors. Needs coop_tile.wgsl.

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

// (row, k, 1) of a piece in a matrix, from `origin` on; (row, 0, 0) from k = limits.y on. Rows beyond limits.x become
// its last ones: what they give is not stored
fn piece_of(index: u32, s: u32, origin: vec2<u32>, limits: vec2<u32>, turned: bool) -> vec3<u32> {
    let to = origin + piece_place(index, s, turned);
    let row = min(to.x, limits.x - select(1u, 8u, turned));
    return select(vec3(row, 0u, 0u), vec3(row, to.y, 1u), to.y < limits.y);
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
    return halves(p.low.xy);
}

fn piece_high(p: Piece, wide: bool) -> vec4<f16> {
    if wide {
        return vec4<f16>(bitcast<vec4<f32>>(p.high));
    }
    return halves(p.low.zw);
}
