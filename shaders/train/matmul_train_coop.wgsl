// Computes: c[i, j] (+)= sum_k a[i, k] * b[j, k], factors in f16, sums in f32: y = x W^T, dx = dy W and dW = dy^T x alike
// Inputs: a and b in f16, or in f32 where they are wide
// Work split: one workgroup owns 128 x 128 of c, each of its 16 subgroups 32 x 32 of them; half of that where m or n ends in
//             the middle of a tile
// Shapes: a [m, k] or, transposed, [k, m]; b [n, k] or, transposed, [k, n]; c [m, n] f32; m, n and k are multiples of 64
enable f16;
enable wgpu_int16;
enable wgpu_cooperative_matrix;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

override A_TRANSPOSED: bool = false;
override B_TRANSPOSED: bool = false;
override A_WIDE: bool = false;
override B_WIDE: bool = false;
override NARROW: bool = false;  // n is 64: all tiles are slim
override ACCUMULATE: bool = false;

// piece s of an invocation, from (row, k) on
fn fetch_a(base: u32, index: u32, s: u32, origin: vec2<u32>) -> Factors {
    var place = origin + coop_eight_place(index, s, A_TRANSPOSED);
    place.x = select(place.x, place.x - 64u, place.x >= p.m); // what lies beyond is not used
    let at = base + coop_eight_offset(place, p.a_stride, A_TRANSPOSED);
    if A_WIDE {
        return Factors(a[at / 4u], a[at / 4u + 1u]);
    }
    return Factors(a[at / 8u], vec4(0u));
}

fn fetch_b(base: u32, index: u32, s: u32, origin: vec2<u32>) -> Factors {
    var place = origin + coop_eight_place(index, s, B_TRANSPOSED);
    place.x = select(place.x, place.x - 64u, place.x >= p.n); // what lies beyond is not used
    let at = base + coop_eight_offset(place, p.b_stride, B_TRANSPOSED);
    if B_WIDE {
        return Factors(b[at / 4u], b[at / 4u + 1u]);
    }
    return Factors(b[at / 8u], vec4(0u));
}

fn put_sums(sums: coop_mat16x16<f32, C>, at: u32) {
    let stride = p.c_stride;
    var result = sums;
    if ACCUMULATE {
        let before = coopLoadT<coop_mat16x16<f32, C>>(&c[at], stride);
        result = result + before;
    }
    let sum = result;
    coopStoreT(sum, &c[at], stride);
}

// the two columns of a subgroup's sums that only whole tiles have both of
fn put_row(left: coop_mat16x16<f32, C>, right: coop_mat16x16<f32, C>, at: u32, both: bool) {
    put_sums(left, at);
    if both {
        put_sums(right, at + 16u);
    }
}

// of a subgroup's sums within the tile: 32 x 32, of a short tile (64 rows) or a slim one (64 columns) 16 x 32, of both 16 x 16
fn place_of(team: u32, short: bool, slim: bool) -> vec2<u32> {
    let across = select(4u, 2u, slim & !short);
    let step = vec2(select(32u, 16u, short | slim), select(32u, 16u, short & slim));
    return vec2(team / across, team % across) * step;
}

// the tile is found as tile_of does it, without a call or a branch, which would make control flow look divergent;
// the factors of the next step travel while those of this one are multiplied
@compute @workgroup_size(WIDTH)
fn matmul_train_coop(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let tiles = vec2(p.m + 64u, p.n + 64u) / TILE;
    let band = group / (8u * tiles.y) * 8u;
    let rest = group % (8u * tiles.y);
    let rows = min(8u, max(tiles.x, band + 1u) - band);
    let tile = vec2(band + rest % rows, rest / rows) * TILE;
    if (group >= tiles.x * tiles.y) | ((p.lower == 1u) & (tile.y > tile.x)) {
        return;
    }
    let short = tile.x + 64u == p.m;
    let slim = NARROW | (tile.y + 64u == p.n);
    let mine = place_of(index / 32u, short, slim);
    var c00: coop_mat16x16<f32, C>;
    var c01: coop_mat16x16<f32, C>;
    var c10: coop_mat16x16<f32, C>;
    var c11: coop_mat16x16<f32, C>;
    var x0 = fetch_a(p.a_offset, index, 0u, vec2(tile.x, 0u));
    var x1 = fetch_a(p.a_offset, index, 1u, vec2(tile.x, 0u));
    var y0 = fetch_b(p.b_offset, index, 0u, vec2(tile.y, 0u));
    var y1 = fetch_b(p.b_offset, index, 1u, vec2(tile.y, 0u));
    for (var at = 0u; at < p.k; at += 64u) {
        workgroupBarrier();
        coop_put(index, 0u, x0, y0);
        coop_put(index, 1u, x1, y1);
        workgroupBarrier();
        let next = min(at + 64u, p.k - 64u);
        x0 = fetch_a(p.a_offset, index, 0u, vec2(tile.x, next));
        x1 = fetch_a(p.a_offset, index, 1u, vec2(tile.x, next));
        y0 = fetch_b(p.b_offset, index, 0u, vec2(tile.y, next));
        y1 = fetch_b(p.b_offset, index, 1u, vec2(tile.y, next));
        for (var k = 0u; k < 16u; k += 4u) {
            let a0 = coop_rows_of_a(mine.x, k);
            let b0 = coop_rows_of_b(mine.y, k);
            let b1 = coop_rows_of_b(mine.y + 16u, k);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            if !NARROW { // sums of a short or slim tile that are not used cost less than a branch
                let a1 = coop_rows_of_a(mine.x + 16u, k);
                c10 = coopMultiplyAdd(a1, b0, c10);
                c11 = coopMultiplyAdd(a1, b1, c11);
            }
        }
    }
    let to = p.c_offset + (tile.x + mine.x) * p.c_stride + tile.y + mine.y;
    put_row(c00, c01, to, !(short & slim));
    if !(short | slim) {
        put_row(c10, c11, to + 16u * p.c_stride, true);
    }
}
