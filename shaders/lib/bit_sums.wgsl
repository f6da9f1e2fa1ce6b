// What becomes of the sums of bit planes and byte planes: results of 16 rows and a tile of tokens, exact until the one
// rounding. The kernel declares p, cells, absmax, y, WIDTH, NB; needs stack.wgsl, planes.wgsl, accumulate.wgsl, bits.wgsl.

var<workgroup> sums: array<f32, 1024>;          // [subgroup][term of the pair, bit, row][byte plane]
var<workgroup> totals: array<atomic<i32>, 32u>; // of the byte planes

fn clear_totals(index: u32) {
    if index < 32u {
        atomicStore(&totals[index], 0i);
    }
}

fn add_totals(plane: u32, total: vec2<i32>) {
    atomicAdd(&totals[plane], total.x);
    if NB > 1u {
        atomicAdd(&totals[16u + plane], total.y);
    }
}

// results of an invocation: the real or the imaginary part of a row for one token, or for two that lie half a tile apart
struct Gathered {
    first: vec2<u32>,
    second: vec2<u32>,
}

// (row of 16, imaginary or real, first byte plane in a tile) of result i of a tile
fn result_of(i: u32) -> vec3<u32> {
    return vec3(i % 16u, i / 16u % 2u, i / 32u * 2u * PLANES);
}

// an integer of a token, from the sums of its byte planes; `scale` makes a bit of what stood for it
fn whole(at: u32, scale: f32) -> i32 {
    let high = i32(sums[at] * scale);
    if PLANES == 2u {
        return high * 256 + i32(sums[at + 1u] * scale);
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

// adds two terms of result i, whose sums lie in workgroup memory
fn gather_one(acc: vec2<u32>, tile: u32, first_term: u32, i: u32, first_row: u32) -> vec2<u32> {
    let r = result_of(i);
    let total = vec2(total_of(tile + r.z), total_of(tile + r.z + PLANES));
    let row = min(first_row + r.x, p.piece_rows - 1u);
    let scales = place(p, p.first_row + row).x * (1u + 2u * TERMS) + 1u;
    var sum = acc;
    for (var t = 0u; t < 2u; t++) {
        let at = r.x / 4u * 256u + (r.x % 4u + 8u * t) * 16u + r.z;
        let bits = vec4(
            whole(at, 128.0),
            whole(at + 64u, 0.5),
            whole(at + PLANES, 128.0),
            whole(at + 64u + PLANES, 0.5),
        );
        let m = scales + 2u * (first_term + t);
        sum = accumulate_part(sum, turn(bits, total), cells[m], cells[m + 1u], first_term >= 2u, r.y == 1u);
    }
    return sum;
}

fn gather(g: Gathered, tile: u32, first_term: u32, index: u32, first_row: u32) -> Gathered {
    var r = g;
    r.first = gather_one(g.first, tile, first_term, index, first_row);
    if PLANES == 1u {
        r.second = gather_one(g.second, tile, first_term, index + WIDTH, first_row);
    }
    return r;
}

fn store_one(sum: vec2<u32>, first_plane: u32, i: u32, first_row: u32) {
    let r = result_of(i);
    let token = (first_plane + r.z) / (2u * PLANES);
    let row = first_row + r.x;
    if token >= p.rows || row >= p.piece_rows {
        return;
    }
    let at = place(p, p.first_row + row);
    let to = select(at.y, at.z, r.y == 1u);
    if to == NOWHERE {
        return;
    }
    let value = to_f32(sum, absmax[token], i32(cells[at.x * (1u + 2u * TERMS)]));
    let goal = token * p.outputs + to;
    y[goal] = select(value, y[goal] + value, p.add == 1u);
}

fn store(g: Gathered, first_plane: u32, index: u32, first_row: u32) {
    store_one(g.first, first_plane, index, first_row);
    if PLANES == 1u {
        store_one(g.second, first_plane, index + WIDTH, first_row);
    }
}

// the sums of two pairs of terms (U, then W) of a tile of byte planes
fn finish(
    u: coop_mat16x16<f32, C>,
    w: coop_mat16x16<f32, C>,
    tile: u32,
    index: u32,
    first_row: u32,
    first_plane: u32,
) {
    let own = index / 32u * 256u;
    workgroupBarrier();
    coopStoreT(u, &sums[own], 16u);
    workgroupBarrier();
    let half = gather(Gathered(), tile, 0u, index, first_row);
    workgroupBarrier();
    coopStoreT(w, &sums[own], 16u);
    workgroupBarrier();
    store(gather(half, tile, 2u, index, first_row), first_plane, index, first_row);
}
