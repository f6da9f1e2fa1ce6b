// The uniform block of training's products.
// Provides: Params

struct Params {
    m: u32,
    n: u32,
    k: u32,
    lower: u32,   // 1: no blocks of c above the diagonal
    a_offset: u32,
    a_stride: u32,
    b_offset: u32,
    b_stride: u32,
    c_offset: u32,
    c_stride: u32,
    factor: f32,  // of the product
}
