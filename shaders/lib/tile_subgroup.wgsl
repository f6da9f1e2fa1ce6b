// Largest values and sums over the workgroup, by way of tiles of TILE invocations of one subgroup. TILE divides the size
// of the subgroup.
//
// All invocations go through every round of a loop before they ask something of their subgroup: behind a loop that
// invocations leave one by one, a driver may ask those who left together, and nobody else.
// Requires: wide_add, CONJ, TILE, WIDTH
// Provides: TILES, tile_group_max, tile_leave_sum, tile_left_sum

override TILES = WIDTH / TILE;
override TILES_IM = 1u + CONJ * (TILES - 1u);

var<workgroup> tile_absmax: array<vec2<u32>, TILES>;
var<workgroup> tile_absmax_im: array<u32, TILES_IM>;
var<workgroup> tile_sums: array<vec2<u32>, TILES>;

fn tile_sum(value: vec2<u32>) -> vec2<u32> {
    var sum = value;
    for (var step = TILE / 2u; step > 0u; step /= 2u) {
        sum = wide_add(sum, subgroupShuffleXor(sum, step));
    }
    return sum;
}

// The largest value of the workgroup, component by component; the third one with CONJ only.
fn tile_group_max(index: u32, value: vec3<u32>) -> vec3<u32> {
    let top = subgroupMax(value.xy); // where subgroups are larger than tiles, of several tiles
    if index % TILE == 0u {
        tile_absmax[index / TILE] = top;
    }
    if CONJ == 1u {
        let top_im = subgroupMax(value.z);
        if index % TILE == 0u {
            tile_absmax_im[index / TILE] = top_im;
        }
    }
    workgroupBarrier();
    var all = vec2(0u);
    var all_im = 0u;
    for (var first = 0u; first < TILES; first += TILE) {
        let i = min(first + index % TILE, TILES - 1u);
        all = max(all, tile_absmax[i]);
        if CONJ == 1u {
            all_im = max(all_im, tile_absmax_im[i]);
        }
    }
    all = subgroupMax(all);
    if CONJ == 1u {
        all_im = subgroupMax(all_im);
    }
    return vec3(all, all_im);
}

// Leaves an invocation's share of a sum of 64 bits, which tile_left_sum gives behind the next barrier.
fn tile_leave_sum(index: u32, part: vec2<u32>) {
    let sum = tile_sum(part);
    if index % TILE == 0u {
        tile_sums[index / TILE] = sum;
    }
}

// The sum of what was left, for all invocations of a tile that calls it together, behind a barrier.
fn tile_left_sum(index: u32) -> vec2<u32> {
    var all = vec2(0u);
    for (var first = 0u; first < TILES; first += TILE) {
        let i = first + index % TILE;
        all = wide_add(all, select(vec2(0u), tile_sums[min(i, TILES - 1u)], i < TILES));
    }
    return tile_sum(all);
}
