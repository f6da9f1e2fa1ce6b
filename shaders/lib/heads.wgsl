// The uniform block of training's products: matrices of every head of every text, and what causality leaves out.
// Provides: Params

struct Params {
    m: u32,
    n: u32,
    k: u32,
    causal: u32,  // 0 no; 1 no blocks of c above the diagonal; 2 no k beyond the block of i; 3 no k before it
    window: u32,  // columns that a row sees at most where causality leaves something out: whole blocks of the others
    reach: u32,   // values of k from the beginning of a row's block on, to the end of those that the row needs
    heads: u32,   // of a text
    share: u32,   // consecutive heads that share a b
    a_offset: u32,
    a_stride: u32,
    a_head_stride: u32,
    a_sequence_stride: u32,
    b_offset: u32,
    b_stride: u32,
    b_head_stride: u32,
    b_sequence_stride: u32,
    c_offset: u32,
    c_stride: u32,
    c_head_stride: u32,
    c_sequence_stride: u32,
    factor: f32,  // of the product
}
