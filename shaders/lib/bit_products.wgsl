// Sums of a subgroup by cooperative matrices: four terms by one or two tiles of byte planes. Needs bit_tiles.wgsl and
// bit_sums.wgsl; the kernel declares NB.

alias Sum = coop_mat16x16<f32, C>;
alias SumOf = ptr<function, Sum>;

// a tile of byte planes by all terms of a stage; one by one, because drivers do not unroll a loop around matrices
fn add_tile(own: u32, at: u32, s0: SumOf, s1: SumOf, s2: SumOf, s3: SumOf) {
    let b = bytes(at);
    *s0 = coopMultiplyAdd(bits(own), b, *s0);
    *s1 = coopMultiplyAdd(bits(own + 16u * PITCH_A), b, *s1);
    *s2 = coopMultiplyAdd(bits(own + 32u * PITCH_A), b, *s2);
    *s3 = coopMultiplyAdd(bits(own + 48u * PITCH_A), b, *s3);
}

// where a subgroup has its tiles
struct Tiles {
    put: u32, // place of an invocation's bits
    a: u32,
    b: u32,
}

// two columns of both halves of each word of a block
fn add_stage(
    k: u32,
    at: Tiles,
    c: Codes,
    s0: SumOf,
    s1: SumOf,
    s2: SumOf,
    s3: SumOf,
    t0: SumOf,
    t1: SumOf,
    t2: SumOf,
    t3: SumOf,
) {
    put_codes(at.put, c, k);
    subgroupBarrier();
    add_tile(at.a, at.b + 4u * k, s0, s1, s2, s3);
    if NB > 1u {
        add_tile(at.a, at.b + 16u * PITCH_B + 4u * k, t0, t1, t2, t3);
    }
    subgroupBarrier();
}

fn add_block(
    at: Tiles,
    c: Codes,
    s0: SumOf,
    s1: SumOf,
    s2: SumOf,
    s3: SumOf,
    t0: SumOf,
    t1: SumOf,
    t2: SumOf,
    t3: SumOf,
) {
    add_stage(0u, at, c, s0, s1, s2, s3, t0, t1, t2, t3);
    add_stage(1u, at, c, s0, s1, s2, s3, t0, t1, t2, t3);
    add_stage(2u, at, c, s0, s1, s2, s3, t0, t1, t2, t3);
    add_stage(3u, at, c, s0, s1, s2, s3, t0, t1, t2, t3);
}

// term i % 4 of tile i / 4 into workgroup memory
fn leave(
    i: u32,
    at: u32,
    s0: SumOf,
    s1: SumOf,
    s2: SumOf,
    s3: SumOf,
    t0: SumOf,
    t1: SumOf,
    t2: SumOf,
    t3: SumOf,
) {
    switch i {
        case 0u: {
            coopStoreT(*s0, &sums[at], 16u);
        }
        case 1u: {
            coopStoreT(*s1, &sums[at], 16u);
        }
        case 2u: {
            coopStoreT(*s2, &sums[at], 16u);
        }
        case 3u: {
            coopStoreT(*s3, &sums[at], 16u);
        }
        case 4u: {
            coopStoreT(*t0, &sums[at], 16u);
        }
        case 5u: {
            coopStoreT(*t1, &sums[at], 16u);
        }
        case 6u: {
            coopStoreT(*t2, &sums[at], 16u);
        }
        default: {
            coopStoreT(*t3, &sums[at], 16u);
        }
    }
}

// results of all tiles; the first one's aims, and its first term's scales, are known
fn finish(
    index: u32,
    first_row: u32,
    first_plane: u32,
    first_aims: Aims,
    first_scales: Own,
    s0: SumOf,
    s1: SumOf,
    s2: SumOf,
    s3: SumOf,
    t0: SumOf,
    t1: SumOf,
    t2: SumOf,
    t3: SumOf,
) {
    var aims = first_aims;
    var scales = first_scales;
    var own = Own();
    for (var i = 0u; i < 4u * NB; i++) {
        workgroupBarrier();
        leave(i, index / 32u * 256u, s0, s1, s2, s3, t0, t1, t2, t3);
        workgroupBarrier();
        let now = scales;
        // rows and so scales are the same in the next tile
        scales = scales_own(aims, (i + 1u) % 4u);
        own = gather_own(own, i / 4u, i % 4u, index, now);
        if i % 4u == 3u {
            store_own(own, aims);
            own = Own();
            if i + 1u < 4u * NB {
                aims = aim_own(index, first_row, first_plane + 16u);
            }
        }
    }
}
