// All stages of a block, for bit_products.wgsl, one by one: drivers do not unroll a loop around cooperative matrices.
// The stand-in without this trick is plain/bit_block.wgsl; both give the same bits.
// Requires: bit_add_stage, Codes, Products, Tiles
// Provides: bit_add_block

fn bit_add_block(s: ptr<function, Products>, at: Tiles, c: Codes) {
    bit_add_stage(s, 0u, at, c);
    bit_add_stage(s, 1u, at, c);
    bit_add_stage(s, 2u, at, c);
    bit_add_stage(s, 3u, at, c);
}
