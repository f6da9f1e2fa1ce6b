// A shard of a weight and its uniform block, the twin of the one in src/ops/quantize/quantizer.
// Provides: Params

struct Params {
    first_row: u32,  // of the shard, among the rows that share `scales` and `sums`
    rows: u32,       // upper real rows in r
    lower_rows: u32, // real rows below them: as many, or one less (then it is 0)
    columns: u32,    // real
    half: u32,       // complex
    group: u32,      // complex columns that share scales: a multiple of 16, or all
    groups: u32,
    by_row: u32,     // 0: one scale block for all rows, 1: one for each row
    stages: u32,
    exponent: i32,
}
