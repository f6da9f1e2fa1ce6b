// Tiles of 128 rows by 64 factors in workgroup memory, for products by cooperative matrices of 16 by 16.
// 16 subgroups of 32 each own 32 rows by 32 columns of a tile of sums. Rows are padded against bank conflicts.

const WIDTH = 512u;
const TILE = 128u;
const PITCH = 18u; // vec4s from row to row: 64 halves and 8 more

var<workgroup> tile_a: array<vec4<f16>, 2304>;
var<workgroup> tile_b: array<vec4<f16>, 2304>;

// Loading words and converting them is faster than loading halves.
fn halves(words: vec2<u32>) -> vec4<f16> {
    return vec4<f16>(vec4(unpack2x16float(words.x), unpack2x16float(words.y)));
}

// which tile of sums workgroup `group` owns: (first row, first column) in tiles. Eight tiles of rows go through the
// columns together, so that what they read stays in the cache.
fn tile_of(group: u32, row_tiles: u32, column_tiles: u32) -> vec2<u32> {
    let band = group / (8u * column_tiles) * 8u;
    let rows = min(8u, row_tiles - band);
    let rest = group % (8u * column_tiles);
    return vec2(band + rest % rows, rest / rows);
}
