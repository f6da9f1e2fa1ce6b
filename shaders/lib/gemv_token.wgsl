// The rounded token of gemv_rows.wgsl: its byte planes in workgroup memory, and the words of it that an invocation keeps.
//
// A tile is TILE invocations of one subgroup that work on the same row. Each of them keeps HELD words of the token in
// registers while its tile walks along the rows. A row longer than TILE * HELD words is shared by CHUNKS tiles.
// Requires: BYTES, HELD, Share, Word
// Provides: TILE, WIDTH, MOST_SLOTS, KNOWN, BYTE_PLANE, CHUNKS, token_planes, gemv_put, gemv_token_share

override TILE: u32;
override WIDTH: u32;

override TOKEN_WORDS: u32; // 2 BYTES byte planes of the token, in units of 16 bytes
override MOST_SLOTS: u32;  // room for rows
override KNOWN: u32;       // 1: `absmax_partials` has the largest magnitude of the token, and the token is not normalized

override BYTE_PLANE = TOKEN_WORDS / (2u * BYTES); // words of a byte plane: of a row, rounded up to whole shares of tiles
override CHUNKS = BYTE_PLANE / (TILE * HELD);      // tiles that share a row

var<workgroup> token_planes: array<vec4<u32>, TOKEN_WORDS>; // [half, byte plane][word]

// Stores four bytes of a byte plane; `word` counts words of four bytes.
fn gemv_put(plane: u32, word: u32, bytes: u32) {
    token_planes[plane * BYTE_PLANE + word / 4u][word % 4u] = bytes;
}

// Whether an invocation keeps the real half of the token where others keep the imaginary one. Half of a tile does, so
// that in the first step of gemv_gather every invocation gives away what it calls its second half, without a choice.
fn gemv_swapped(lane: u32) -> bool {
    return TILE >= 16u && (lane & 2u) != 0u;
}

// Word `w` of the token, with the halves swapped where `swapped` says so.
fn gemv_token_word(w: u32, swapped: bool) -> Word {
    let re = w + select(0u, BYTES * BYTE_PLANE, swapped);
    let im = w + select(BYTES * BYTE_PLANE, 0u, swapped);
    var a: Word;
    a.re_high = token_planes[re];
    a.im_high = token_planes[im];
    if BYTES == 2u {
        a.re_low = token_planes[BYTE_PLANE + re];
        a.im_low = token_planes[BYTE_PLANE + im];
    }
    return a;
}

// The words that the invocation keeps, beginning with `word`, TILE apart.
fn gemv_token_share(word: u32, lane: u32) -> Share {
    let swapped = gemv_swapped(lane);
    var x: Share;
    x.w0 = gemv_token_word(word, swapped);
    x.w1 = gemv_token_word(word + min(1u, HELD - 1u) * TILE, swapped);
    x.w2 = gemv_token_word(word + min(2u, HELD - 1u) * TILE, swapped);
    x.w3 = gemv_token_word(word + min(3u, HELD - 1u) * TILE, swapped);
    return x;
}
