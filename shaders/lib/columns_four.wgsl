// Reading four columns of a shard whose complex columns are a multiple of four, and twice as many real ones.
// Requires: MATRICES, p, Four
// Provides: RAGGED, columns_load

@group(0) @binding(1) var<storage, read> r: array<vec4<f32>>;

// whether some of four columns can lie beyond their group
const RAGGED = false;

// The real blocks of columns c to c + 3; those of the last columns where there are none.
fn columns_load(row: u32, c: u32) -> Four {
    let half = p.half / 4u;
    if MATRICES == 1u {
        let re = row * half + min(c / 4u, half - 1u);
        return Four(r[re], r[re + p.rows * half], vec4(0.0), vec4(0.0));
    }
    let upper = row * 2u * half + min(c / 4u, half - 1u);
    var v = Four();
    v.a = r[upper];
    v.b = r[upper + half];
    if row < p.lower_rows {
        let lower = upper + p.rows * 2u * half;
        v.c = r[lower];
        v.d = r[lower + half];
    }
    return v;
}
