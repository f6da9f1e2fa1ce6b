// Real weights in f16 from the codes of complex ones, as sums over planes: for more planes than fit in tables, and for scales
// of groups of columns.
// Requires: codes_word, real_weight, Block, Codes, LIFT, PLANES, U_PLANES
// Provides: real_sum_block

// The symbol of column 4 * four + j of a code word. Where planes come by fours, a byte has all symbols of a column.
fn real_symbol(c: Codes, plane: u32, four: u32, j: u32) -> u32 {
    if PLANES % 4u == 0u {
        return (codes_word(c, plane / 4u * 4u + four) >> (8u * j + 2u * (plane % 4u))) & 3u;
    }
    return (codes_word(c, plane) >> (8u * j + 2u * four)) & 3u;
}

// Columns 4 * four to 4 * four + 3 of a code word, with the scales of its group in the scale block.
fn real_sum_block(c: Codes, scale_block: u32, group: u32, four: u32) -> Block {
    var r11: vec4<f32>;
    var r12: vec4<f32>;
    var r21: vec4<f32>;
    var r22: vec4<f32>;
    for (var j = 0u; j < 4u; j++) {
        var u = vec2(0.0);
        var w = vec2(0.0);
        for (var t = 0u; t < U_PLANES; t++) {
            u += real_weight(real_symbol(c, t, four, j), scale_block, group * PLANES + t);
        }
        for (var t = U_PLANES; t < PLANES; t++) {
            w += real_weight(real_symbol(c, t, four, j), scale_block, group * PLANES + t);
        }
        r11[j] = u.x + w.x;
        r12[j] = w.y - u.y;
        r21[j] = u.y + w.y;
        r22[j] = u.x - w.x;
    }
    return Block(vec4<f16>(r11 * LIFT), vec4<f16>(r12 * LIFT), vec4<f16>(r21 * LIFT), vec4<f16>(r22 * LIFT));
}
