// Reading four columns of a shard of any width.
// Requires: MATRICES, p, Four
// Provides: RAGGED, columns_load

@group(0) @binding(1) var<storage, read> r: array<f32>;

// whether some of four columns can lie beyond their group
const RAGGED = true;

// The real blocks of columns c to c + 3; 0 where there are none.
fn columns_load(row: u32, c: u32) -> Four {
    let upper = row * p.columns;
    let right = p.columns - p.half;
    var v = Four();
    if MATRICES == 1u {
        v.a = columns_load_values(upper, c, p.half);
        v.b = columns_load_values(upper + p.rows * p.columns, c, p.half);
        return v;
    }
    v.a = columns_load_values(upper, c, p.half);
    v.b = columns_load_values(upper + p.half, c, right);
    if row < p.lower_rows {
        let lower = upper + p.rows * p.columns;
        v.c = columns_load_values(lower, c, p.half);
        v.d = columns_load_values(lower + p.half, c, right);
    }
    return v;
}

// Values c to c + 3 of the `end` values that begin at `first`; 0 beyond them.
fn columns_load_values(first: u32, c: u32, end: u32) -> vec4<f32> {
    var v = vec4(0.0);
    if c < end {
        v.x = r[first + c];
    }
    if c + 1u < end {
        v.y = r[first + c + 1u];
    }
    if c + 2u < end {
        v.z = r[first + c + 2u];
    }
    if c + 3u < end {
        v.w = r[first + c + 3u];
    }
    return v;
}
