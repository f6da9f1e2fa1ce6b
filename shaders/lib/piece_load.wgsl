// Reading a piece of a weight and its scales. Needs piece.wgsl.

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read> scales: array<vec2<f32>>;

// the four real weights of a complex one; 0 where there is none
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
