// Keeps the loads of codes where gemv_rows.wgsl has them: early, so that they travel while other work is done.
// The stand-in without these tricks is plain/gemv_prefetch.wgsl; both give the same bits.
//
// Drivers move a load from a read-only buffer down to the place where its value is used, which is behind the work that
// was to hide how long it takes, and between blocks of code they wait for all loads that are under way. Here a store of
// the value into workgroup memory keeps the load in its place. The store never takes effect: either its condition is
// false in every run, which the driver cannot know, or the token overwrites what was stored.
// Requires: codes_word, p, token_planes, KNOWN, PLANES, Row, Rows, Token
// Provides: gemv_hold_first, gemv_seen, gemv_hold

// One word made of all words of a load: if only some were used, the loads of the others would be moved down.
fn gemv_row_bits(r: Row) -> u32 {
    var all = 0u;
    for (var t = 0u; t < PLANES; t++) {
        all ^= codes_word(r.c0, t) ^ codes_word(r.c1, t) ^ codes_word(r.c2, t) ^ codes_word(r.c3, t);
    }
    return all;
}

fn gemv_all_bits(r: Rows) -> u32 {
    let all = gemv_row_bits(r.a);
    if PLANES < 3u {
        return all ^ gemv_row_bits(r.b);
    }
    return all;
}

// Keeps the load of the first codes in front of the rounding of the token. `seen` is made of the token's values, so that
// the store stands behind their loads. Nothing depends on the value stored, because the token is written over it.
fn gemv_hold_first(ready: Rows, seen: u32) {
    if KNOWN == 0u {
        if seen == p.outputs {
            token_planes[0].x = gemv_all_bits(ready);
        }
        return;
    }
    // No barrier follows that would keep the store in its place, so a loop of at most one round does. The words of a
    // group are the words of a row here.
    for (var i = p.words; i < p.group_words + select(0u, 1u, seen == p.outputs); i++) {
        token_planes[i].x = gemv_all_bits(ready);
    }
}

// One word made of a value from every load of a token that is not normalized, for gemv_hold_first.
fn gemv_seen(t: Token) -> u32 {
    let first = bitcast<u32>(t.x0.a.x) ^ bitcast<u32>(t.x0.b.x);
    return first ^ bitcast<u32>(t.x1.a.x) ^ bitcast<u32>(t.x1.b.x) ^ bitcast<u32>(t.x2.a.x) ^ bitcast<u32>(t.x2.b.x);
}

// Returns `now`, and keeps the load of `next` in front of whatever is done with it. The loop never runs, because
// p.group_words is p.words; a plain branch would become conditional stores, which wait for the load.
fn gemv_hold(now: Rows, next: Rows) -> Rows {
    var r = now;
    for (var i = p.words; i < p.group_words; i++) {
        token_planes[i].x = gemv_all_bits(next);
        r = next;
    }
    return r;
}
