// Where the tokens of a dispatch stand in the caches. The kernel declares `rows` and, in its parameters, `table`, `row`,
// `slot` and `position`.
// Requires: p, rows
// Provides: row_table_place

// (slot, position) of token `i`. Consecutive tokens of one sequence follow from the parameters; tokens of several sequences
// have a row of the table each. There `slot` and `position` are the last ones that may be, so that no table, whatever it
// holds, leads beyond the end of a cache.
fn row_table_place(i: u32) -> vec2<u32> {
    // One return alone: FXC takes what a function returns early for uninitialized, and barriers that depend on it for varying.
    var place = vec2(p.slot, p.position + i);
    if p.table == 1u {
        place = min(rows[p.row + i], vec2(p.slot, p.position));
    }
    return place;
}
