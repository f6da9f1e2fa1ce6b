// A piece of a weight and its uniform block: the twin of Piece in src/ops/quantizer.rs. Needs lib/widely.wgsl.

struct Params {
    first_row: u32,  // of the piece, among the rows that share `scales` and `sums`
    rows: u32,       // upper real rows in r
    lower_rows: u32, // real rows below them: as many, or one less (then it is 0)
    columns: u32,    // real
    half: u32,       // complex
    group: u32,      // complex columns that share scales: a multiple of 16, or all
    groups: u32,
    by_row: u32,     // 0: one cell of scales, 1: one per row
    stages: u32,
    stage: u32,
    exponent: i32,
    measure: u32,    // 1: errors are wanted
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read> scales: array<vec2<f32>>;

// the four real weights of a complex one, no subnormals among them; 0 where there is none
fn load(row: u32, c: u32) -> vec4<f32> {
    let upper = row * p.columns + c;
    let lower = upper + p.rows * p.columns;
    let left = c < p.half;
    let right = c + p.half < p.columns;
    let below = row < p.lower_rows;
    var v = vec4(0.0);
    if left {
        v.x = r[upper];
    }
    if right {
        v.y = r[upper + p.half];
    }
    if left && below {
        v.z = r[lower];
    }
    if right && below {
        v.w = r[lower + p.half];
    }
    return v;
}

// place of the first scales of a group: of the stages of U, then of W
fn scales_of(row: u32, group: u32) -> u32 {
    let cell = select(0u, p.first_row + row, p.by_row == 1u);
    return (cell * p.groups + group) * 2u * p.stages;
}
