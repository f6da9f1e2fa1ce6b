// Sums of a row over the invocations of a tile, for gemv_rows.wgsl.
// Requires: gemv_four_sums, gemv_plane_sums, CHUNKS, Four, MOST_SLOTS, PLANES, Rows, Share, TILE
// Provides: sums, gemv_gather_rows

// an array's length must be an override's name for naga 30, not an expression
override SUM_WORDS = 4u * PLANES * MOST_SLOTS;

var<workgroup> sums: array<atomic<i32>, SUM_WORDS>; // [slot][plane][4]

// Stores a tile's sum, or adds it where several tiles share a row.
fn gemv_give(index: u32, sum: i32) {
    if CHUNKS == 1u {
        atomicStore(&sums[index], sum);
    } else {
        atomicAdd(&sums[index], sum);
    }
}

// Sums four planes (16 numbers) over the tile. From step to step an invocation gives half of its numbers to a neighbour
// and adds what it gets of the others, until it has one number, the one with its own index, which it stores.
fn gemv_gather(lane: u32, first: u32, count: u32, t0: vec4<i32>, t1: vec4<i32>, t2: vec4<i32>, t3: vec4<i32>) {
    if TILE < 16u {
        gemv_gather_plainly(lane, first, count, array(t0, t1, t2, t3));
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
    for (var step = 16u; step < TILE; step *= 2u) {
        d += subgroupShuffleXor(d, step);
    }
    if lane < count {
        gemv_give(first + lane, d);
    }
}

// The same on small subgroups, one number after the other.
fn gemv_gather_plainly(lane: u32, first: u32, count: u32, planes: array<vec4<i32>, 4>) {
    var all = planes;
    for (var i = 0u; i < count; i++) {
        var sum = all[i / 4u][i % 4u];
        for (var step = TILE / 2u; step > 0u; step /= 2u) {
            sum += subgroupShuffleXor(sum, step);
        }
        if lane == 0u {
            gemv_give(first + i, sum);
        }
    }
}

fn gemv_gather_four(lane: u32, first: u32, s: Four) {
    gemv_gather(lane, first, 16u, s.t0, s.t1, s.t2, s.t3);
}

// Sums one plane of two rows (8 numbers), in fewer steps than gemv_gather would take.
fn gemv_gather_two(lane: u32, first: u32, t0: vec4<i32>, t1: vec4<i32>) {
    if TILE < 16u {
        gemv_gather_plainly(lane, first, 8u, array(t0, t1, vec4(0i), vec4(0i)));
        return;
    }
    let h4 = (lane & 4u) != 0u;
    let h1 = (lane & 1u) != 0u;
    let a0 = t0.xy + subgroupShuffleXor(t0.zw, 2u);
    let a1 = t1.xy + subgroupShuffleXor(t1.zw, 2u);
    let c = select(a0, a1, h4) + subgroupShuffleXor(select(a1, a0, h4), 4u);
    var d = select(c.x, c.y, h1) + subgroupShuffleXor(select(c.y, c.x, h1), 1u);
    for (var step = 8u; step < TILE; step *= 2u) {
        d += subgroupShuffleXor(d, step);
    }
    if lane < 8u {
        gemv_give(first + lane, d);
    }
}

// Multiplies a tile's share of the rows from a slot on by its share of the token, and sums the products over the tile.
fn gemv_gather_rows(lane: u32, slot: u32, rows: Rows, x: Share) {
    let first = 4u * PLANES * slot;
    let none = vec4(0i);
    let r = rows.a;
    if PLANES == 1u {
        gemv_gather_two(lane, first, gemv_plane_sums(r, 0u, x), gemv_plane_sums(rows.b, 0u, x));
    } else if PLANES == 3u {
        let s0 = gemv_plane_sums(r, 0u, x);
        gemv_gather(lane, first, 12u, s0, gemv_plane_sums(r, 1u, x), gemv_plane_sums(r, 2u, x), none);
    } else if PLANES == 2u {
        let s0 = gemv_plane_sums(r, 0u, x);
        let s1 = gemv_plane_sums(r, 1u, x);
        gemv_gather(lane, first, 16u, s0, s1, gemv_plane_sums(rows.b, 0u, x), gemv_plane_sums(rows.b, 1u, x));
    } else if PLANES == 6u {
        let s0 = gemv_plane_sums(r, 0u, x);
        let s1 = gemv_plane_sums(r, 1u, x);
        gemv_gather(lane, first, 16u, s0, s1, gemv_plane_sums(r, 2u, x), gemv_plane_sums(r, 3u, x));
        gemv_gather(lane, first + 16u, 8u, gemv_plane_sums(r, 4u, x), gemv_plane_sums(r, 5u, x), none, none);
    } else {
        gemv_gather_four(lane, first, gemv_four_sums(r, 0u, x));
        if PLANES == 8u {
            gemv_gather_four(lane, first + 16u, gemv_four_sums(r, 1u, x));
        }
    }
}
