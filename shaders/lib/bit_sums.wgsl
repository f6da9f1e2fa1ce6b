// What becomes of the sums of bit planes and byte planes: results of a workgroup's rows and a tile of tokens, exact
// until the one rounding. The kernel declares p, cells, absmax, y, NB, ROWS, PARTS, WIDTH; needs bit_tiles.wgsl,
// stack.wgsl, planes.wgsl, accumulate.wgsl, bits.wgsl and a wide*.wgsl.

override LENGTH_SUMS = 256u * ROWS * PARTS;

var<workgroup> sums: array<f32, LENGTH_SUMS>;   // of a term: [part][8 rows][bit, row][byte plane]
var<workgroup> totals: array<atomic<i32>, 32u>; // of the byte planes

// results of a tile: parts of numbers, rows, tokens; and of an invocation, at most
override RESULTS = 128u * ROWS / PLANES;
override OWN_RESULTS = (RESULTS + WIDTH - 1u) / WIDTH;

fn clear_totals(index: u32) {
    for (var i = index; i < 32u; i += WIDTH) {
        atomicStore(&totals[i], 0i);
    }
}

fn add_totals(member: u32, total: vec4<i32>) {
    let plane = member / 8u;
    if plane < 16u * NB {
        atomicAdd(&totals[plane], total.x);
    }
    if HAS_1 && plane + PLANE_STEP < 16u * NB {
        atomicAdd(&totals[plane + PLANE_STEP], total.y);
    }
    if HAS_2 && plane + 2u * PLANE_STEP < 16u * NB {
        atomicAdd(&totals[plane + 2u * PLANE_STEP], total.z);
    }
    if HAS_3 && plane + 3u * PLANE_STEP < 16u * NB {
        atomicAdd(&totals[plane + 3u * PLANE_STEP], total.w);
    }
}

// result i of a tile
struct Result {
    row: u32,   // of the workgroup's
    part: u32,  // 0 real, 1 imaginary
    plane: u32, // the first byte plane of its token
}

// tokens side by side, so that an invocation's neighbours find their sums in other banks
fn result_of(i: u32) -> Result {
    let tokens = 8u / PLANES;
    let rows = 8u * ROWS;
    return Result(i / tokens % rows, i / (tokens * rows), i % tokens * 2u * PLANES);
}

// a sum of all parts; `scale` makes a bit of what stood for it
fn sum_at(at: u32, scale: f32) -> i32 {
    var sum = sums[at];
    for (var k = 1u; k < PARTS; k++) {
        sum += sums[at + k * ROWS * 256u];
    }
    return i32(sum * scale);
}

// an integer of a token, from the sums of its byte planes
fn whole(at: u32, scale: f32) -> i32 {
    let high = sum_at(at, scale);
    if PLANES == 2u {
        return high * 256 + sum_at(at + 1u, scale);
    }
    return high;
}

fn total_of(plane: u32) -> i32 {
    let high = atomicLoad(&totals[plane]);
    if PLANES == 2u {
        return high * 256 + atomicLoad(&totals[plane + 1u]);
    }
    return high;
}

// where a result goes and what is to be known for it, asked for before its sums are there
struct Aim {
    cell: u32,   // of its scales
    goal: u32,   // place in y, or NOWHERE
    factor: u32, // bits of what one integer of its token is worth
    before: f32, // what it is added to
    exponent: u32,
}

fn aim_at(i: u32, first_row: u32, first_plane: u32) -> Aim {
    let r = result_of(i);
    let token = (first_plane + r.plane) / (2u * PLANES);
    let row = first_row + r.row;
    if i >= RESULTS || token >= p.rows || row >= p.piece_rows {
        return Aim(0u, NOWHERE, 0u, 0.0, 0u);
    }
    let at = place(p, p.first_row + row);
    let to = select(at.y, at.z, r.part == 1u);
    let cell = at.x * (1u + 2u * TERMS);
    let goal = select(token * p.outputs + to, NOWHERE, to == NOWHERE);
    var before = 0.0;
    if p.add == 1u && goal != NOWHERE {
        before = y[goal];
    }
    return Aim(cell, goal, absmax[token], before, cells[cell]);
}

fn scales_of(aim: Aim, t: u32) -> vec2<u32> {
    let m = aim.cell + 1u + 2u * t;
    return vec2(cells[m], cells[m + 1u]);
}

// adds a term, whose sums lie in workgroup memory, to result i of a tile
fn gather(acc: vec2<u32>, tile: u32, t: u32, i: u32, scales: vec2<u32>) -> vec2<u32> {
    let r = result_of(i);
    let total = vec2(total_of(16u * tile + r.plane), total_of(16u * tile + r.plane + PLANES));
    let at = r.row / 8u * 256u + r.row % 8u * 16u + r.plane;
    let bits = vec4(
        whole(at, 128.0),
        whole(at + 128u, 0.5),
        whole(at + PLANES, 128.0),
        whole(at + 128u + PLANES, 0.5),
    );
    return accumulate_part(acc, turn(bits, total), scales.x, scales.y, t >= 2u, r.part == 1u);
}

fn store(sum: vec2<u32>, aim: Aim) {
    if aim.goal != NOWHERE {
        y[aim.goal] = aim.before + to_f32(sum, aim.factor, i32(aim.exponent));
    }
}

// an invocation's results, WIDTH apart
struct Own {
    r0: vec2<u32>,
    r1: vec2<u32>,
    r2: vec2<u32>,
    r3: vec2<u32>,
}

struct Aims {
    r0: Aim,
    r1: Aim,
    r2: Aim,
    r3: Aim,
}

fn aim_own(index: u32, first_row: u32, first_plane: u32) -> Aims {
    var a: Aims;
    a.r0 = aim_at(index, first_row, first_plane);
    if OWN_RESULTS > 1u {
        a.r1 = aim_at(index + WIDTH, first_row, first_plane);
    }
    if OWN_RESULTS > 2u {
        a.r2 = aim_at(index + 2u * WIDTH, first_row, first_plane);
    }
    if OWN_RESULTS > 3u {
        a.r3 = aim_at(index + 3u * WIDTH, first_row, first_plane);
    }
    return a;
}

fn scales_own(a: Aims, t: u32) -> Own {
    var m: Own;
    m.r0 = scales_of(a.r0, t);
    if OWN_RESULTS > 1u {
        m.r1 = scales_of(a.r1, t);
    }
    if OWN_RESULTS > 2u {
        m.r2 = scales_of(a.r2, t);
    }
    if OWN_RESULTS > 3u {
        m.r3 = scales_of(a.r3, t);
    }
    return m;
}

fn gather_own(own: Own, tile: u32, t: u32, index: u32, m: Own) -> Own {
    var r = own;
    if index < RESULTS {
        r.r0 = gather(own.r0, tile, t, index, m.r0);
    }
    if OWN_RESULTS > 1u && index + WIDTH < RESULTS {
        r.r1 = gather(own.r1, tile, t, index + WIDTH, m.r1);
    }
    if OWN_RESULTS > 2u && index + 2u * WIDTH < RESULTS {
        r.r2 = gather(own.r2, tile, t, index + 2u * WIDTH, m.r2);
    }
    if OWN_RESULTS > 3u && index + 3u * WIDTH < RESULTS {
        r.r3 = gather(own.r3, tile, t, index + 3u * WIDTH, m.r3);
    }
    return r;
}

fn store_own(own: Own, a: Aims) {
    store(own.r0, a.r0);
    if OWN_RESULTS > 1u {
        store(own.r1, a.r1);
    }
    if OWN_RESULTS > 2u {
        store(own.r2, a.r2);
    }
    if OWN_RESULTS > 3u {
        store(own.r3, a.r3);
    }
}
