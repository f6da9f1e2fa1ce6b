// Elements of dense matrices: four words hold 4 f32, 8 f16 or 8 bf16, as ELEM says.
// Requires: ELEM
// Provides: elem_count, elem_low, elem_high

// How many elements four words hold.
fn elem_count() -> u32 {
    return select(8u, 4u, ELEM == 0u);
}

// The two elements of a word, for 16-bit types.
fn elem_pair(word: u32) -> vec2<f32> {
    if ELEM == 1u {
        return unpack2x16float(word);
    }
    return vec2(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u));
}

// The first four elements of four words.
fn elem_low(words: vec4<u32>) -> vec4<f32> {
    if ELEM == 0u {
        return bitcast<vec4<f32>>(words);
    }
    return vec4(elem_pair(words.x), elem_pair(words.y));
}

// The other four, for 16-bit types.
fn elem_high(words: vec4<u32>) -> vec4<f32> {
    return vec4(elem_pair(words.z), elem_pair(words.w));
}
