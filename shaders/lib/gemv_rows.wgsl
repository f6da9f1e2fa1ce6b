// Exact products of packed rows with one rounded token, by a workgroup that rounds the token for itself.
// docs/notes/gemv_rows.md has the layout, the bit budget and the reasons.
//
// What differs between the layers of a model is uniform where it can be, instead of overridden: layers then share
// pipelines, whose code stays in the caches of the processors from dispatch to dispatch.
// Requires: scale_blocks, codes, factor, gemv_gather_rows, gemv_hold, gemv_hold_first, gemv_layer_words, gemv_left_totals,
//    gemv_prepare_slots, gemv_seen, gemv_token_share, p, round_factor, round_token_absmax, round_vector,
//    slot_scales, tile_group_max, absmax_partials, totals, BYTES, CHUNKS, HELD, KNOWN, PLANES, Rounding, Row, Rows, TILE,
//    TILES, Token
// Provides: gemv_products

override WHOLE: u32; // 1: a row is whole shares of tiles

// Rows that a tile works on at a time: two with one plane or two, so that half as many loads are waited for, else one.
override AT_ONCE = 1u + u32(PLANES < 3u);

// Times AT_ONCE, rows that are on their way at a time. With one byte plane the last tile takes no row, because it has other
// work; with two byte planes there are no invocations to spare.
override STEP = (TILES - 2u + BYTES) / CHUNKS;

// The index in `codes` of word k of an invocation's share of a row that begins at `base`. Beyond the end of a row any
// codes will do, because the token is zero there.
fn gemv_code_index(base: u32, word: u32, k: u32) -> u32 {
    if WHOLE == 1u {
        return base + word + k * TILE;
    }
    return base + min(word + k * TILE, p.words - 1u);
}

// An invocation's codes of the row of a slot; of another row where the slot has none.
fn gemv_load_row(slot: u32, first: u32, groups: u32, word: u32) -> Row {
    let row = first + (slot >> p.gated) * groups + (slot & p.gated) * (p.shard_rows >> 1u);
    let base = min(row, p.shard_rows - 1u) * p.words;
    var r: Row;
    r.c0 = codes[gemv_code_index(base, word, 0u)];
    if HELD > 1u {
        r.c1 = codes[gemv_code_index(base, word, 1u)];
    }
    if HELD > 2u {
        r.c2 = codes[gemv_code_index(base, word, 2u)];
    }
    if HELD > 3u {
        r.c3 = codes[gemv_code_index(base, word, 3u)];
    }
    return r;
}

// The row of a slot and, where a tile works on two at a time, that of the slot behind it.
fn gemv_load_rows(slot: u32, first: u32, groups: u32, word: u32) -> Rows {
    var r: Rows;
    r.a = gemv_load_row(slot, first, groups, word);
    if AT_ONCE == 2u {
        r.b = gemv_load_row(slot + 1u, first, groups, word);
    }
    return r;
}

// An invocation's share of the maximum over the magnitudes (as bits) that the dispatch which made the token left in
// `absmax_partials`. The loads of a round do not wait for each other.
fn gemv_known_absmax(lane: u32, token: u32) -> u32 {
    let last = p.n_absmax_partials - 1u;
    let base = token * p.n_absmax_partials;
    var top = 0u;
    for (var first = 0u; first < p.n_absmax_partials; first += 5u * TILE) {
        let i = first + lane;
        let a = max(absmax_partials[base + min(i, last)], absmax_partials[base + min(i + TILE, last)]);
        let b = max(absmax_partials[base + min(i + 2u * TILE, last)], absmax_partials[base + min(i + 3u * TILE, last)]);
        top = max(top, max(max(a, b), absmax_partials[base + min(i + 4u * TILE, last)]));
    }
    return top;
}

// Leaves `totals`, `factor` and the scales of whole layers in workgroup memory. The last tile does it.
fn gemv_leave_factor(lane: u32, rounding: Rounding) {
    for (var i = lane; i < gemv_layer_words(); i += TILE) {
        slot_scales[i] = scale_blocks[i];
    }
    let both = gemv_left_totals(lane);
    let worth = round_factor(lane, rounding);
    if lane == 0u {
        totals = both;
        factor = worth;
    }
}

// Multiplies all rows of the workgroup. Afterwards `sums`, `slot_scales`, `totals` and `factor` hold what
// gemv_slot_value reads, in every invocation.
fn gemv_products(index: u32, first: u32, groups: u32, token: u32, own: Token) {
    let lane = index % TILE;
    let tile = index / TILE;
    // A tile that is left over finds no slot.
    var slot = select(AT_ONCE * (tile / CHUNKS), p.slots, tile / CHUNKS >= STEP);
    let word = tile % CHUNKS * TILE * HELD + lane;
    var top = vec3(0u);
    if KNOWN == 1u {
        top.y = gemv_known_absmax(lane, token);
    } else {
        top = round_token_absmax(index, token, own);
    }
    gemv_prepare_slots(index, first, groups);
    // The first codes travel while the token is rounded.
    var ready = gemv_load_rows(slot, first, groups, word);
    if KNOWN == 1u {
        top.y = subgroupMax(top.y);
        gemv_hold_first(ready, gemv_seen(own) ^ top.y);
    } else {
        gemv_hold_first(ready, top.y);
        top = tile_group_max(index, top);
    }
    let rounding = round_vector(index, token, own, top);
    workgroupBarrier();
    let x = gemv_token_share(word, lane);
    while slot < p.slots {
        let before = ready;
        // Behind the last row this row is loaded once more, because it is near.
        let next = slot + AT_ONCE * STEP;
        ready = gemv_load_rows(select(slot, next, next < p.slots), first, groups, word);
        gemv_gather_rows(lane, slot, gemv_hold(before, ready), x);
        slot = next;
    }
    if tile + 1u == TILES {
        gemv_leave_factor(lane, rounding);
    }
    workgroupBarrier();
}
