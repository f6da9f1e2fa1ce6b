// What an invocation brings of a row and of tokens for tiles of bits. The kernel declares p, codes, q; needs
// bit_tiles.wgsl and planes.wgsl.

// an invocation's codes and bytes of a block
struct Block {
    codes: Codes,
    bytes: Bytes,
}

// where it finds them
struct Source {
    row: u32,   // its first word of codes
    word: u32,  // of a block
    plane: u32, // its first byte plane
    pair: u32,  // half a word of a block
}

// of planes that do not exist any will do, nobody reads their sums
fn load_pair(s: Source, i: u32, pair: u32) -> vec2<u32> {
    let plane = min(s.plane + PLANE_STEP * i, p.rows * 2u * PLANES - 1u);
    return q[plane * 2u * p.words + pair];
}

// beyond the end of a row anything will do, `put_bytes` makes zeros of it
fn load(s: Source, block: u32) -> Block {
    let pair = min(8u * block + s.pair, 2u * p.words - 1u);
    var b: Block;
    b.codes = codes[s.row + min(4u * block + s.word, p.words - 1u)];
    b.bytes.x0 = load_pair(s, 0u, pair);
    if HAS_1 {
        b.bytes.x1 = load_pair(s, 1u, pair);
    }
    if HAS_2 {
        b.bytes.x2 = load_pair(s, 2u, pair);
    }
    if HAS_3 {
        b.bytes.x3 = load_pair(s, 3u, pair);
    }
    return b;
}
