// Exact products of packed rows with one rounded token: each invocation of a team of TEAM keeps HELD words of the
// token in registers while the team walks along its rows, and the sums of a row are gathered in workgroup memory.
// The kernel declares p, codes: array<Codes>, cells; needs stack.wgsl, planes.wgsl, accumulate.wgsl, wide64.wgsl,
// a codes_T.wgsl and round_vector.wgsl with what that needs.
//
// A workgroup owns p.slots rows, dealt out in strides so that workgroups stay busy alike; in pairs, a row of gate and
// the same row of up lie in neighbouring slots. A row longer than TEAM * HELD words is shared by several teams.
// What differs between the layers of a model is uniform where it can be, not overridden: they share pipelines, whose
// code then stays in the processors' caches from dispatch to dispatch.

override TEAM: u32;
override WIDTH: u32;
override TEAMS = WIDTH / TEAM;

override HELD: u32;        // words of an invocation, 1 to 4
override TOKEN_WORDS: u32; // 2 PLANES planes of the token, in units of 16 bytes
override MOST_SLOTS: u32;  // room for rows

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

// 16 complex activations of each word
struct Share {
    w0: Word,
    w1: Word,
    w2: Word,
    w3: Word,
}

struct Row {
    c0: Codes,
    c1: Codes,
    c2: Codes,
    c3: Codes,
}

fn word_of(w: u32) -> Word {
    var a: Word;
    a.re_high = token_planes[w];
    a.im_high = token_planes[PLANES * PLANE + w];
    if PLANES == 2u {
        a.re_low = token_planes[PLANE + w];
        a.im_low = token_planes[3u * PLANE + w];
    }
    return a;
}

// beyond the end of a row any codes will do, the token is zero there
fn load_row(row: u32, first: u32) -> Row {
    let base = min(row, p.piece_rows - 1u) * p.words;
    let last = p.words - 1u;
    var r: Row;
    r.c0 = codes[base + min(first, last)];
    if HELD > 1u {
        r.c1 = codes[base + min(first + TEAM, last)];
    }
    if HELD > 2u {
        r.c2 = codes[base + min(first + 2u * TEAM, last)];
    }
    if HELD > 3u {
        r.c3 = codes[base + min(first + 3u * TEAM, last)];
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
        all ^= term(r.c0, t) ^ term(r.c1, t) ^ term(r.c2, t) ^ term(r.c3, t);
    }
    return all;
}

// the first codes, after the token's values are there. Taken or not, what it stores is overwritten by the token
fn hold_first(ready: Row, tops: vec2<u32>) {
    if tops.y == p.outputs {
        token_planes[0].x = all_of(ready);
    }
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

fn dots_high(code: u32, re: u32, im: u32) -> vec4<i32> {
    let b0 = code & EACH_BYTE;
    let b1 = code & (2u * EACH_BYTE);
    return vec4(
        dot4I8Packed(b0, re),
        dot4I8Packed(b1, re),
        dot4I8Packed(b0, im),
        dot4I8Packed(b1, im),
    );
}

fn dots_low(code: u32, re: u32, im: u32) -> vec4<i32> {
    let b0 = code & EACH_BYTE;
    let b1 = code & (2u * EACH_BYTE);
    return vec4<i32>(vec4(
        dot4U8Packed(b0, re),
        dot4U8Packed(b1, re),
        dot4U8Packed(b0, im),
        dot4U8Packed(b1, im),
    ));
}

// 16 symbols more; sums of bit 1 count twice, which saves the shift of its masks
fn add_code(s: Sums, code: u32, a: Word) -> Sums {
    let c1 = code >> 2u;
    let c2 = code >> 4u;
    let c3 = code >> 6u;
    let high = s.high + dots_high(code, a.re_high.x, a.im_high.x) + dots_high(c1, a.re_high.y, a.im_high.y)
        + dots_high(c2, a.re_high.z, a.im_high.z) + dots_high(c3, a.re_high.w, a.im_high.w);
    if PLANES == 1u {
        return Sums(high, s.low);
    }
    let low = s.low + dots_low(code, a.re_low.x, a.im_low.x) + dots_low(c1, a.re_low.y, a.im_low.y)
        + dots_low(c2, a.re_low.z, a.im_low.z) + dots_low(c3, a.re_low.w, a.im_low.w);
    return Sums(high, low);
}

fn add_term(s: Sums, r: Row, t: u32, x: Share) -> Sums {
    var sum = add_code(s, term(r.c0, t), x.w0);
    if HELD > 1u {
        sum = add_code(sum, term(r.c1, t), x.w1);
    }
    if HELD > 2u {
        sum = add_code(sum, term(r.c2, t), x.w2);
    }
    if HELD > 3u {
        sum = add_code(sum, term(r.c3, t), x.w3);
    }
    return sum;
}

// an invocation's share of the four sums of term t of a row
fn share_of(r: Row, t: u32, x: Share) -> vec4<i32> {
    let sum = add_term(Sums(vec4(0i), vec4(0i)), r, t, x);
    if PLANES == 2u {
        return ((sum.high << vec4(8u)) + sum.low) >> vec4(0u, 1u, 0u, 1u);
    }
    return sum.high >> vec4(0u, 1u, 0u, 1u);
}

// a team's share of a sum
fn give(at: u32, sum: i32) {
    if CHUNKS == 1u {
        atomicStore(&sums[at], sum);
    } else {
        atomicAdd(&sums[at], sum);
    }
}

// sums four terms (16 numbers) over the team: from step to step an invocation gives half of its numbers away
fn gather(lane: u32, at: u32, count: u32, t0: vec4<i32>, t1: vec4<i32>, t2: vec4<i32>, t3: vec4<i32>) {
    if TEAM < 16u {
        gather_plainly(lane, at, count, array(t0, t1, t2, t3));
        return;
    }
    let h1 = (lane & 1u) != 0u;
    let h2 = (lane & 2u) != 0u;
    let h4 = (lane & 4u) != 0u;
    let h8 = (lane & 8u) != 0u;
    let a0 = select(t0, t2, h1) + subgroupShuffleXor(select(t2, t0, h1), 1u);
    let a1 = select(t1, t3, h1) + subgroupShuffleXor(select(t3, t1, h1), 1u);
    let b = select(a0, a1, h2) + subgroupShuffleXor(select(a1, a0, h2), 2u);
    let c = select(b.xy, b.zw, h4) + subgroupShuffleXor(select(b.zw, b.xy, h4), 4u);
    var d = select(c.x, c.y, h8) + subgroupShuffleXor(select(c.y, c.x, h8), 8u);
    for (var step = 16u; step < TEAM; step *= 2u) {
        d += subgroupShuffleXor(d, step);
    }
    let place = select(0u, 8u, h1) + select(0u, 4u, h2) + select(0u, 2u, h4) + select(0u, 1u, h8);
    if lane < 16u && place < count {
        give(at + place, d);
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

fn gather_row(lane: u32, slot: u32, r: Row, x: Share) {
    let at = 4u * TERMS * slot;
    let none = vec4(0i);
    if TERMS == 2u {
        gather(lane, at, 8u, share_of(r, 0u, x), share_of(r, 1u, x), none, none);
        return;
    }
    gather(lane, at, 16u, share_of(r, 0u, x), share_of(r, 1u, x), share_of(r, 2u, x), share_of(r, 3u, x));
    if TERMS == 6u {
        gather(lane, at + 16u, 8u, share_of(r, 4u, x), share_of(r, 5u, x), none, none);
    } else if TERMS == 8u {
        gather(lane, at + 16u, 16u, share_of(r, 4u, x), share_of(r, 5u, x), share_of(r, 6u, x), share_of(r, 7u, x));
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

// sums of both parts of the token by a team
fn team_totals(lane: u32) -> vec2<i32> {
    var sum = vec2(0i);
    for (var w = lane; w < PLANE; w += TEAM) {
        sum += word_total(word_of(w));
    }
    for (var step = TEAM / 2u; step > 0u; step /= 2u) {
        sum += subgroupShuffleXor(sum, step);
    }
    return sum;
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
    let tops = token_tops(index, token, own);
    prepare_slots(index, first, groups);
    // the first codes travel while the token is rounded
    var ready = load_row(row_of(slot, first, groups), word);
    hold_first(ready, tops);
    let rounding = round_vector(index, token, own, tops);
    workgroupBarrier();
    var x: Share;
    x.w0 = word_of(word);
    x.w1 = word_of(word + min(1u, HELD - 1u) * TEAM);
    x.w2 = word_of(word + min(2u, HELD - 1u) * TEAM);
    x.w3 = word_of(word + min(3u, HELD - 1u) * TEAM);
    while slot < p.slots {
        let before = ready;
        // behind the last row this one again, which is near
        let next = select(slot, slot + STEP, slot + STEP < p.slots);
        ready = load_row(row_of(next, first, groups), word);
        gather_row(lane, slot, hold(before, ready), x);
        slot += STEP;
    }
    if team + 1u == TEAMS {
        for (var i = lane; i < layer_words(); i += TEAM) {
            slot_cells[i] = cells[i];
        }
        let both = team_totals(lane);
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
    for (var t = 0u; t < TERMS; t++) {
        let at = 4u * (slot * TERMS + t);
        let bits = vec4(
            atomicLoad(&sums[at]),
            atomicLoad(&sums[at + 1u]),
            atomicLoad(&sums[at + 2u]),
            atomicLoad(&sums[at + 3u]),
        );
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
