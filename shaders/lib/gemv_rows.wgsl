// Exact products of packed rows with one rounded token in workgroup memory, a team of TEAM invocations per row.
// The kernel declares p, codes: array<Codes>, cells, WIDTH, TEAM; needs planes.wgsl, terms.wgsl, a codes_T.wgsl,
// a team_*.wgsl. Rows are dealt out in strides, so that workgroups stay busy alike.

override WORDS: u32;  // packed words of a row
override PADDED: u32; // words of a plane in workgroup memory
override NORMED: u32; // 1: normalize before rounding
override ROWS: u32;   // rows to deal out
override GROUPS: u32; // workgroups
override TURNS = (ROWS + GROUPS * TEAMS - 1u) / (GROUPS * TEAMS); // rows of a team

override STEPS = (WORDS + 2u * TEAM - 1u) / (2u * TEAM); // pairs of words of an invocation

// an array's length must be an override's name for naga 30, not an expression
override HELD_WORDS = 2u * PLANES * PADDED;

var<workgroup> q: array<vec4<u32>, HELD_WORDS>; // [part, plane][word]

fn put(plane: u32, word: u32, bytes: u32) {
    q[plane * PADDED + word / 4u][word % 4u] = bytes;
}

// sums of one term; those of `four` weigh a quarter: masks left where they are save shifts
struct Acc {
    one: vec4<i32>,
    four: vec4<i32>,
    low: vec4<i32>,
}

fn dots(b0: u32, b1: u32, re: u32, im: u32) -> vec4<i32> {
    return vec4(dot4I8Packed(b0, re), dot4I8Packed(b1, re), dot4I8Packed(b0, im), dot4I8Packed(b1, im));
}

fn add_code(acc: Acc, code: u32, a: Word) -> Acc {
    var r = acc;
    if PLANES == 2u {
        r.one += word_high(code, a.re_high, a.im_high);
        r.low += word_low(code, a.re_low, a.im_low);
    } else {
        let upper = code >> 4u;
        r.one += dots(code & EACH_BYTE, code & (2u * EACH_BYTE), a.re_high.x, a.im_high.x);
        r.four += dots(code & (4u * EACH_BYTE), code & (8u * EACH_BYTE), a.re_high.y, a.im_high.y);
        r.one += dots(upper & EACH_BYTE, upper & (2u * EACH_BYTE), a.re_high.z, a.im_high.z);
        r.four += dots(upper & (4u * EACH_BYTE), upper & (8u * EACH_BYTE), a.re_high.w, a.im_high.w);
    }
    return r;
}

fn sums_from(acc: Acc) -> Sums {
    if PLANES == 2u {
        return Sums(acc.one, acc.low);
    }
    return Sums((acc.one + (acc.four >> vec4(2u))) >> vec4(0u, 1u, 0u, 1u), vec4(0i));
}

struct Accs {
    t0: Acc,
    t1: Acc,
    t2: Acc,
    t3: Acc,
    t4: Acc,
    t5: Acc,
    t6: Acc,
    t7: Acc,
}

fn add_codes(accs: Accs, c: Codes, a: Word) -> Accs {
    var r = accs;
    r.t0 = add_code(r.t0, term(c, 0u), a);
    r.t1 = add_code(r.t1, term(c, 1u), a);
    if TERMS > 2u {
        r.t2 = add_code(r.t2, term(c, 2u), a);
        r.t3 = add_code(r.t3, term(c, 3u), a);
    }
    if TERMS > 4u {
        r.t4 = add_code(r.t4, term(c, 4u), a);
        r.t5 = add_code(r.t5, term(c, 5u), a);
    }
    if TERMS > 6u {
        r.t6 = add_code(r.t6, term(c, 6u), a);
        r.t7 = add_code(r.t7, term(c, 7u), a);
    }
    return r;
}

fn word_of(w: u32) -> Word {
    var a: Word;
    a.re_high = q[w];
    a.im_high = q[PLANES * PADDED + w];
    if PLANES == 2u {
        a.re_low = q[PADDED + w];
        a.im_low = q[3u * PADDED + w];
    }
    return a;
}

// words `step` and the next of this lane; beyond the row any words will do, the token is zero there
fn load_pair(row: u32, step: u32, lane: u32) -> array<Codes, 2> {
    let first = step * 2u * TEAM + lane;
    let base = row * WORDS;
    return array(codes[base + min(first, WORDS - 1u)], codes[base + min(first + TEAM, WORDS - 1u)]);
}

// This lane's share of row `row`, whose first words are `ready`; `ready` becomes the first words of row `next`.
fn row_share(row: u32, next: u32, lane: u32, ready: ptr<function, array<Codes, 2>>) -> Accs {
    var accs: Accs;
    for (var step = 0u; step < STEPS; step++) {
        let last = step + 1u == STEPS;
        let ahead = load_pair(select(row, next, last), select(step + 1u, 0u, last), lane);
        let w = step * 2u * TEAM + lane;
        accs = add_codes(accs, (*ready)[0], word_of(w));
        if step * 2u * TEAM + TEAM < WORDS {
            accs = add_codes(accs, (*ready)[1], word_of(w + TEAM));
        }
        *ready = ahead;
    }
    return accs;
}

// the share times its scales, as two 64-bit numbers; the first lane takes care of the token's sum
fn scaled_share(accs: Accs, total: vec2<i32>, lane: u32, row: u32) -> vec4<u32> {
    var s: Terms;
    s.total = select(vec2(0i), total, lane == 0u);
    s.t0 = sums_from(accs.t0);
    s.t1 = sums_from(accs.t1);
    s.t2 = sums_from(accs.t2);
    s.t3 = sums_from(accs.t3);
    s.t4 = sums_from(accs.t4);
    s.t5 = sums_from(accs.t5);
    s.t6 = sums_from(accs.t6);
    s.t7 = sums_from(accs.t7);
    let cell = place(p, p.first_row + row).x * (1u + TERMS * 2u);
    return flush(vec4(0u), s, cell + 1u);
}
