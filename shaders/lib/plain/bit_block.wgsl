// The plain stand-in for ../bit_block.wgsl: a loop over the stages.

fn bit_add_block(s: ptr<function, Products>, at: Tiles, c: Codes) {
    for (var k = 0u; k < 4u; k++) {
        bit_add_stage(s, k, at, c);
    }
}
