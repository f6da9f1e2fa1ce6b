// A shard of a weight and its uniform block, the twin of the one in src/ops/quantize/quantizer.
// Provides: MATRICES, Params

// U and W, or 1: W alone, whose real and imaginary parts r has as they are (the conjugate form)
override MATRICES: u32 = 2u;

struct Params {
    first_row: u32,  // of the shard, among the rows that share `scales` and `sums`
    rows: u32,       // upper real rows in r, or real parts of rows
    lower_rows: u32, // real rows below them: as many, or one less (then it is 0); imaginary parts of rows
    columns: u32,    // of r
    half: u32,       // complex
    group: u32,      // complex columns that share scales: a multiple of 16, or all
    groups: u32,
    block_rows: u32, // rows that share scales
    stages: u32,
    exponent: i32,
}
