// Exact products of packed rows with one rounded token: each invocation of a team of TEAM keeps HELD words of the
// token in registers while the team walks along its rows, and the sums of a row are gathered in workgroup memory.
// The kernel declares p, codes: array<Codes>, cells, tops; needs stack.wgsl, planes.wgsl, gemv_sums.wgsl, accumulate.wgsl,
// wide64.wgsl, a codes_T.wgsl and round_vector.wgsl with what that needs.
//
// A workgroup owns p.slots rows, dealt out in strides so that workgroups stay busy alike; in pairs, a row of gate and
// the same row of up lie in neighbouring slots. A row longer than TEAM * HELD words is shared by several teams.
// What differs between the layers of a model is uniform where it can be, not overridden: they share pipelines, whose
// code then stays in the processors' caches from dispatch to dispatch.

override TEAM: u32;
override WIDTH: u32;
override TEAMS = WIDTH / TEAM;

override TOKEN_WORDS: u32; // 2 PLANES planes of the token, in units of 16 bytes
override MOST_SLOTS: u32;  // room for rows
override WHOLE: u32;       // 1: a row is whole shares of teams
override KNOWN: u32;       // 1: the largest magnitude of the token is in tops, and it is not normalized

override PLANE = TOKEN_WORDS / (2u * PLANES); // words of a row, or more: whole shares of teams
override CHUNKS = PLANE / (TEAM * HELD);      // teams that share a row
// rows on their way at a time; with one plane the last team has other work, with two every register counts
override STEP = (TEAMS - 2u + PLANES) / CHUNKS;

// an array's length must be an override's name for naga 30, not an expression
override SUM_WORDS = 4u * TERMS * MOST_SLOTS;
override SLOT_CELL = 1u + 2u * TERMS;
override CELL_WORDS = SLOT_CELL * MOST_SLOTS;

var<workgroup> token_planes: array<vec4<u32>, TOKEN_WORDS>; // [part, plane][word]
var<workgroup> sums: array<atomic<i32>, SUM_WORDS>;         // [slot][term][4]
var<workgroup> slot_cells: array<u32, CELL_WORDS>;
var<workgroup> team_totals: array<vec2<i32>, TEAM_SLOTS>;
var<workgroup> totals: vec2<i32>; // of the token's real and of its imaginary integers
var<workgroup> factor: u32;       // bits of the f32 that one integer step is worth, times levels

fn normed() -> bool {
    return p.normed == 1u;
}

fn plane_words() -> u32 {
    return 4u * PLANE;
}

fn put(plane: u32, word: u32, bytes: u32) {
    token_planes[plane * PLANE + word / 4u][word % 4u] = bytes;
}

// the row of a slot in the stack; piece_rows if there is none. `groups`: workgroups
fn row_of(slot: u32, first: u32, groups: u32) -> u32 {
    let rows = p.piece_rows >> p.paired;
    let row = first + (slot >> p.paired) * groups;
    return select(p.piece_rows, row + (slot & p.paired) * rows, row < rows && slot < p.slots);
}

// `turned`: real and imaginary parts change places
fn word_of(w: u32, turned: bool) -> Word {
    let re = w + select(0u, PLANES * PLANE, turned);
    let im = w + select(PLANES * PLANE, 0u, turned);
    var a: Word;
    a.re_high = token_planes[re];
    a.im_high = token_planes[im];
    if PLANES == 2u {
        a.re_low = token_planes[PLANE + re];
        a.im_low = token_planes[PLANE + im];
    }
    return a;
}

// Place of word k of an invocation's share of a row that begins at `base`. Beyond the end of a row any codes will do, the
// token is zero there.
fn share_at(base: u32, word: u32, k: u32) -> u32 {
    if WHOLE == 1u {
        return base + word + k * TEAM;
    }
    return base + min(word + k * TEAM, p.words - 1u);
}

// codes of the row of a slot; of another row where the slot has none
fn load_row(slot: u32, first: u32, groups: u32, word: u32) -> Row {
    let row = first + (slot >> p.paired) * groups + (slot & p.paired) * (p.piece_rows >> 1u);
    let base = min(row, p.piece_rows - 1u) * p.words;
    var r: Row;
    r.c0 = codes[share_at(base, word, 0u)];
    if HELD > 1u {
        r.c1 = codes[share_at(base, word, 1u)];
    }
    if HELD > 2u {
        r.c2 = codes[share_at(base, word, 2u)];
    }
    if HELD > 3u {
        r.c3 = codes[share_at(base, word, 3u)];
    }
    return r;
}

// Drivers move loads of read-only buffers down to where their values are kept, past the work that was to hide them
// (and wait for all loads together that are on their way between blocks of code). What never happens, and drivers
// cannot know it, keeps them apart.

// every word counts: the others of a load would be moved down
fn all_of(r: Row) -> u32 {
    var all = 0u;
    for (var t = 0u; t < TERMS; t++) {
        all ^= word(r.c0, t) ^ word(r.c1, t) ^ word(r.c2, t) ^ word(r.c3, t);
    }
    return all;
}

// the first codes, after the token's values are there, of which `seen` is made. Taken or not, what it stores is
// overwritten by the token
fn hold_first(ready: Row, seen: u32) {
    if KNOWN == 0u {
        if seen == p.outputs {
            token_planes[0].x = all_of(ready);
        }
        return;
    }
    // no barrier keeps what follows apart
    for (var i = p.words; i < p.group_words + select(0u, 1u, seen == p.outputs); i++) {
        token_planes[i].x = all_of(ready);
    }
}

// Something of every load of a token that is not normalized, for `hold_first`
fn seen_of(t: Token) -> u32 {
    let first = bitcast<u32>(t.x0.a.x) ^ bitcast<u32>(t.x0.b.x);
    return first ^ bitcast<u32>(t.x1.a.x) ^ bitcast<u32>(t.x1.b.x) ^ bitcast<u32>(t.x2.a.x) ^ bitcast<u32>(t.x2.b.x);
}

// An invocation's share of the largest magnitudes (bits) that those who made the token left: loads that do not wait for
// each other
fn known_top(lane: u32, token: u32) -> u32 {
    let last = p.parts - 1u;
    let base = token * p.parts;
    var top = 0u;
    for (var first = 0u; first < p.parts; first += 5u * TEAM) {
        let i = first + lane;
        let a = max(tops[base + min(i, last)], tops[base + min(i + TEAM, last)]);
        let b = max(tops[base + min(i + 2u * TEAM, last)], tops[base + min(i + 3u * TEAM, last)]);
        top = max(top, max(max(a, b), tops[base + min(i + 4u * TEAM, last)]));
    }
    return top;
}

// the next codes, before whatever is made of `now`. A loop, because a plain branch would become conditional stores
// that wait; words of a group are words of a row here
fn hold(now: Row, next: Row) -> Row {
    var r = now;
    for (var i = p.words; i < p.group_words; i++) {
        token_planes[i].x = all_of(next);
        r = next;
    }
    return r;
}

// a team's share of a sum
fn give(at: u32, sum: i32) {
    if CHUNKS == 1u {
        atomicStore(&sums[at], sum);
    } else {
        atomicAdd(&sums[at], sum);
    }
}

// Whether an invocation holds the token's parts the other way round: half of them do, so that what `gather` gives away
// first is what lies second everywhere, without choosing.
fn turned(lane: u32) -> bool {
    return TEAM >= 16u && (lane & 2u) != 0u;
}

// sums four terms (16 numbers) over the team: from step to step an invocation gives half of its numbers away
fn gather(lane: u32, at: u32, count: u32, t0: vec4<i32>, t1: vec4<i32>, t2: vec4<i32>, t3: vec4<i32>) {
    if TEAM < 16u {
        gather_plainly(lane, at, count, array(t0, t1, t2, t3));
        return;
    }
    let h8 = (lane & 8u) != 0u;
    let h4 = (lane & 4u) != 0u;
    let h1 = (lane & 1u) != 0u;
    let a0 = t0.xy + subgroupShuffleXor(t0.zw, 2u);
    let a1 = t1.xy + subgroupShuffleXor(t1.zw, 2u);
    let a2 = t2.xy + subgroupShuffleXor(t2.zw, 2u);
    let a3 = t3.xy + subgroupShuffleXor(t3.zw, 2u);
    let b0 = select(a0, a2, h8) + subgroupShuffleXor(select(a2, a0, h8), 8u);
    let b1 = select(a1, a3, h8) + subgroupShuffleXor(select(a3, a1, h8), 8u);
    let c = select(b0, b1, h4) + subgroupShuffleXor(select(b1, b0, h4), 4u);
    var d = select(c.x, c.y, h1) + subgroupShuffleXor(select(c.y, c.x, h1), 1u);
    for (var step = 16u; step < TEAM; step *= 2u) {
        d += subgroupShuffleXor(d, step);
    }
    // an invocation ends up with the number that has its own
    if lane < count {
        give(at + lane, d);
    }
}

fn gather_plainly(lane: u32, at: u32, count: u32, terms: array<vec4<i32>, 4>) {
    var all = terms;
    for (var i = 0u; i < count; i++) {
        var sum = all[i / 4u][i % 4u];
        for (var step = TEAM / 2u; step > 0u; step /= 2u) {
            sum += subgroupShuffleXor(sum, step);
        }
        if lane == 0u {
            give(at + i, sum);
        }
    }
}

fn gather_four(lane: u32, at: u32, s: Four) {
    gather(lane, at, 16u, s.t0, s.t1, s.t2, s.t3);
}

fn gather_row(lane: u32, slot: u32, r: Row, x: Share) {
    let at = 4u * TERMS * slot;
    let none = vec4(0i);
    if TERMS == 2u {
        gather(lane, at, 8u, term_sums(r, 0u, x), term_sums(r, 1u, x), none, none);
    } else if TERMS == 6u {
        gather(lane, at, 16u, term_sums(r, 0u, x), term_sums(r, 1u, x), term_sums(r, 2u, x), term_sums(r, 3u, x));
        gather(lane, at + 16u, 8u, term_sums(r, 4u, x), term_sums(r, 5u, x), none, none);
    } else {
        gather_four(lane, at, four_sums(r, 0u, x));
        if TERMS == 8u {
            gather_four(lane, at + 16u, four_sums(r, 1u, x));
        }
    }
}

// where a slot's scales lie in slot_cells: one cell per row, or one per layer of the stack
fn slot_cell(slot: u32, row: u32) -> u32 {
    return SLOT_CELL * select(place(p, p.first_row + row).x, slot, p.per_row == 1u);
}

// words of the scales of whole layers; none where rows have their own
fn layer_words() -> u32 {
    let layers = 1u + select(0u, 1u, p.outs1 > 0u) + select(0u, 1u, p.outs2 > 0u);
    return select(layers * SLOT_CELL, 0u, p.per_row == 1u);
}

// sums over a team of both parts of a token
fn team_added(own: vec2<i32>) -> vec2<i32> {
    var sum = own;
    for (var step = TEAM / 2u; step > 0u; step /= 2u) {
        sum += subgroupShuffleXor(sum, step);
    }
    return sum;
}

fn leave_totals(index: u32, own: vec2<i32>) {
    let sum = team_added(own);
    if index % TEAM == 0u {
        team_totals[index / TEAM] = sum;
    }
}

// by all of a team, after a barrier
fn left_totals(lane: u32) -> vec2<i32> {
    var all = vec2(0i);
    for (var first = 0u; first < TEAM_SLOTS; first += TEAM) {
        let i = first + lane;
        all += select(vec2(0i), team_totals[min(i, TEAM_SLOTS - 1u)], i < TEAM_SLOTS);
    }
    return team_added(all);
}

// what the sums and the results will need
fn prepare_slots(index: u32, first: u32, groups: u32) {
    for (var i = index; p.per_row == 1u && i < SLOT_CELL * p.slots; i += WIDTH) {
        let row = min(row_of(i / SLOT_CELL, first, groups), p.piece_rows - 1u);
        slot_cells[i] = cells[(p.first_row + row) * SLOT_CELL + i % SLOT_CELL];
    }
    for (var i = index; CHUNKS > 1u && i < 4u * TERMS * p.slots; i += WIDTH) {
        atomicStore(&sums[i], 0i);
    }
}

// all rows of the workgroup; afterwards sums, scales, totals and factor are there for everybody
fn products(index: u32, first: u32, groups: u32, token: u32, own: Token) {
    let lane = index % TEAM;
    let team = index / TEAM;
    // a team that is left over finds no slot
    var slot = select(team / CHUNKS, p.slots, team / CHUNKS >= STEP);
    let word = team % CHUNKS * TEAM * HELD + lane;
    var top = vec2(0u);
    if KNOWN == 1u {
        top.y = known_top(lane, token);
    } else {
        top = token_tops(index, token, own);
    }
    prepare_slots(index, first, groups);
    // the first codes travel while the token is rounded
    var ready = load_row(slot, first, groups, word);
    if KNOWN == 1u {
        top.y = subgroupMax(top.y);
        hold_first(ready, seen_of(own) ^ top.y);
    } else {
        hold_first(ready, top.y);
        top = group_max(index, top);
    }
    let rounding = round_vector(index, token, own, top);
    workgroupBarrier();
    var x: Share;
    x.w0 = word_of(word, turned(lane));
    x.w1 = word_of(word + min(1u, HELD - 1u) * TEAM, turned(lane));
    x.w2 = word_of(word + min(2u, HELD - 1u) * TEAM, turned(lane));
    x.w3 = word_of(word + min(3u, HELD - 1u) * TEAM, turned(lane));
    while slot < p.slots {
        let before = ready;
        // behind the last row this one again, which is near
        let next = select(slot, slot + STEP, slot + STEP < p.slots);
        ready = load_row(next, first, groups, word);
        gather_row(lane, slot, hold(before, ready), x);
        slot += STEP;
    }
    if team + 1u == TEAMS {
        for (var i = lane; i < layer_words(); i += TEAM) {
            slot_cells[i] = cells[i];
        }
        let both = left_totals(lane);
        let worth = factor_of(lane, rounding);
        if lane == 0u {
            totals = both;
            factor = worth;
        }
    }
    workgroupBarrier();
}

// the real or the imaginary result of a slot's row, in units of 2^exponent / factor
fn slot_sum(slot: u32, cell: u32, imaginary: bool) -> vec2<u32> {
    var sum = vec2(0u);
    var before = vec2(0i);
    for (var t = 0u; t < TERMS; t++) {
        let at = 4u * (slot * TERMS + t);
        let gathered = vec4(
            atomicLoad(&sums[at]),
            atomicLoad(&sums[at + 1u]),
            atomicLoad(&sums[at + 2u]),
            atomicLoad(&sums[at + 3u]),
        );
        let bits = bits_of_term(gathered, before, t);
        before = select(before, vec2(0i), t % 4u == 0u) + gathered.xz + gathered.yw;
        let m_re = slot_cells[cell + 1u + 2u * t];
        let m_im = slot_cells[cell + 2u + 2u * t];
        sum = accumulate_part(sum, turn(bits, totals), m_re, m_im, 2u * t >= TERMS, imaginary);
    }
    return sum;
}

fn slot_value(slot: u32, row: u32, imaginary: bool) -> f32 {
    let cell = slot_cell(slot, row);
    return to_f32(slot_sum(slot, cell, imaginary), factor, i32(slot_cells[cell]));
}
