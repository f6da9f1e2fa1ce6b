// Which tile of sums a workgroup owns in products by cooperative matrices.
// Provides: coop_tile_of

// The tile of workgroup `group`: (first row, first column), in tiles. Eight tiles of rows go through the columns together,
// so that what they read stays in the cache.
fn coop_tile_of(group: u32, row_tiles: u32, column_tiles: u32) -> vec2<u32> {
    let band = group / (8u * column_tiles) * 8u;
    let rows = min(8u, row_tiles - band);
    let rest = group % (8u * column_tiles);
    return vec2(band + rest % rows, rest / rows);
}
