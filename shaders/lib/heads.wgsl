// The uniform block of training's products: matrices of every head of every text, and what causality leaves out.

struct Params {
    m: u32,
    n: u32,
    k: u32,
    causal: u32,  // 0 no; 1 no blocks of c above the diagonal; 2 no k beyond the block of i; 3 no k before it
    heads: u32,   // of a text
    share: u32,   // consecutive heads that share a b
    a_first: u32,
    a_stride: u32,
    a_head: u32,
    a_text: u32,
    b_first: u32,
    b_stride: u32,
    b_head: u32,
    b_text: u32,
    c_first: u32,
    c_stride: u32,
    c_head: u32,
    c_text: u32,
    factor: f32,  // of the product
}
