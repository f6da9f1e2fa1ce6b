// Reading four columns of a shard whose real columns are a multiple of eight.
// Requires: p, Four
// Provides: RAGGED, columns_load

@group(0) @binding(1) var<storage, read> r: array<vec4<f32>>;

// whether some of four columns can lie beyond their group
const RAGGED = false;

// The real blocks of columns c to c + 3; those of the last columns where there are none.
fn columns_load(row: u32, c: u32) -> Four {
    let half = p.half / 4u;
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
