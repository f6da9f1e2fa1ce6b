// What an invocation brings of a row and of tokens for tiles of bits.
// Requires: codes, p, q, BYTES, Bytes, Codes, HAS_1, HAS_2, HAS_3, PLANE_STEP
// Provides: Source, bit_load

// An invocation's codes and bytes of a block.
struct Block {
    codes: Codes,
    bytes: Bytes,
}

// Where it finds them.
struct Source {
    row: u32,   // its first word of codes
    word: u32,  // of a block
    plane: u32, // the first of its byte planes
    pair: u32,  // half a word of a block
}

// Loads a pair of words of the i-th of its byte planes. In place of a plane that does not exist the last one is read,
// because nobody looks at its sums.
fn bit_load_pair(s: Source, i: u32, pair: u32) -> vec2<u32> {
    let plane = min(s.plane + PLANE_STEP * i, p.tokens * 2u * BYTES - 1u);
    return q[plane * 2u * p.words + pair];
}

// Loads its part of a block. Beyond the end of a row the last words are read, and bit_put_bytes makes zeros of them.
fn bit_load(s: Source, block: u32) -> Block {
    let pair = min(8u * block + s.pair, 2u * p.words - 1u);
    var b: Block;
    b.codes = codes[s.row + min(4u * block + s.word, p.words - 1u)];
    b.bytes.x0 = bit_load_pair(s, 0u, pair);
    if HAS_1 {
        b.bytes.x1 = bit_load_pair(s, 1u, pair);
    }
    if HAS_2 {
        b.bytes.x2 = bit_load_pair(s, 2u, pair);
    }
    if HAS_3 {
        b.bytes.x3 = bit_load_pair(s, 3u, pair);
    }
    return b;
}
