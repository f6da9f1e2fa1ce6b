// The rows that a workgroup of gemv_rows.wgsl owns, one a slot: which they are, their scales, and their results.
//
// Rows are dealt out in strides over the workgroups, so that all are busy alike. Where gate and up are paired, a row of
// gate and the same row of up lie in neighbouring slots.
// Requires: accumulate_half, accumulate_half_apart, bits_to_f32, scale_blocks, gemv_bit_sums, p, planes_code_sums,
//    stack_place, sums, CHUNKS, CONJ, MOST_SLOTS, PLANES, TILE, TILES, WIDTH
// Provides: slot_scales, totals, factor, gemv_row, gemv_layer_words, gemv_leave_totals, gemv_left_totals,
//    gemv_prepare_slots, gemv_slot_value

override SLOT_SCALES = 1u + 2u * PLANES; // words of a scale block: its exponent, then two scales for each plane
override SCALE_WORDS = SLOT_SCALES * MOST_SLOTS;

var<workgroup> slot_scales: array<u32, SCALE_WORDS>;
var<workgroup> tile_totals: array<vec2<i32>, TILES>;
var<workgroup> totals: vec2<i32>; // sums of the token's real and of its imaginary integers
var<workgroup> factor: vec2<u32>; // bits of the f32 that one integer step is worth, times the levels (.y: imaginary, with CONJ)

// The row of a slot in the stack, or shard_rows if the slot has none. `groups` is the number of workgroups.
fn gemv_row(slot: u32, first: u32, groups: u32) -> u32 {
    let rows = p.shard_rows >> p.gated;
    let row = first + (slot >> p.gated) * groups;
    return select(p.shard_rows, row + (slot & p.gated) * rows, row < rows && slot < p.slots);
}

// Where a slot's scales lie in slot_scales: every slot has a scale block of its own, or every layer of the stack has one.
fn gemv_scale_index(slot: u32, row: u32) -> u32 {
    return SLOT_SCALES * select(stack_place(p, p.first_row + row).x, slot, p.per_row == 1u);
}

// Words of the scale blocks of whole layers; none where rows have their own.
fn gemv_layer_words() -> u32 {
    let layers = 1u + select(0u, 1u, p.outs1 > 0u) + select(0u, 1u, p.outs2 > 0u);
    return select(layers * SLOT_SCALES, 0u, p.per_row == 1u);
}

fn gemv_tile_sum(own: vec2<i32>) -> vec2<i32> {
    var sum = own;
    for (var step = TILE / 2u; step > 0u; step /= 2u) {
        sum += subgroupShuffleXor(sum, step);
    }
    return sum;
}

// Leaves the sums of a tile's integers for gemv_left_totals, which may follow behind a barrier.
fn gemv_leave_totals(index: u32, own: vec2<i32>) {
    let sum = gemv_tile_sum(own);
    if index % TILE == 0u {
        tile_totals[index / TILE] = sum;
    }
}

// The sums over the workgroup. All invocations of a tile must call it together.
fn gemv_left_totals(lane: u32) -> vec2<i32> {
    var all = vec2(0i);
    for (var first = 0u; first < TILES; first += TILE) {
        let i = first + lane;
        all += select(vec2(0i), tile_totals[min(i, TILES - 1u)], i < TILES);
    }
    return gemv_tile_sum(all);
}

// Loads the scales of rows that have their own, and clears sums that several tiles will add to.
fn gemv_prepare_slots(index: u32, first: u32, groups: u32) {
    for (var i = index; p.per_row == 1u && i < SLOT_SCALES * p.slots; i += WIDTH) {
        let row = min(gemv_row(i / SLOT_SCALES, first, groups), p.shard_rows - 1u);
        slot_scales[i] = scale_blocks[(p.first_row + row) * SLOT_SCALES + i % SLOT_SCALES];
    }
    for (var i = index; CHUNKS > 1u && i < 4u * PLANES * p.slots; i += WIDTH) {
        atomicStore(&sums[i], 0i);
    }
}

// The real or the imaginary result of a slot's row, as an integer in units of 2^exponent / factor; with CONJ what real inputs
// add to it (.xy) and what imaginary ones do (.zw).
fn gemv_slot_sum(slot: u32, scales: u32, imaginary: bool) -> vec4<u32> {
    var sum = vec4(0u);
    var before = vec2(0i);
    for (var t = 0u; t < PLANES; t++) {
        let first = 4u * (slot * PLANES + t);
        let gathered = vec4(
            atomicLoad(&sums[first]),
            atomicLoad(&sums[first + 1u]),
            atomicLoad(&sums[first + 2u]),
            atomicLoad(&sums[first + 3u]),
        );
        let bits = gemv_bit_sums(gathered, before, t);
        before = select(before, vec2(0i), t % 4u == 0u) + gathered.xz + gathered.yw;
        let m_re = slot_scales[scales + 1u + 2u * t];
        let m_im = slot_scales[scales + 2u + 2u * t];
        let codes = planes_code_sums(bits, totals);
        if CONJ == 1u {
            sum = accumulate_half_apart(sum, codes, m_re, m_im, imaginary);
        } else {
            sum = vec4(accumulate_half(sum.xy, codes, m_re, m_im, 2u * t >= PLANES, imaginary), vec2(0u));
        }
    }
    return sum;
}

// The real or the imaginary result of a slot's row.
fn gemv_slot_value(slot: u32, row: u32, imaginary: bool) -> f32 {
    let scales = gemv_scale_index(slot, row);
    let sum = gemv_slot_sum(slot, scales, imaginary);
    let exponent = i32(slot_scales[scales]);
    if CONJ == 1u {
        return bits_to_f32(sum.xy, factor.x, exponent) + bits_to_f32(sum.zw, factor.y, exponent);
    }
    return bits_to_f32(sum.xy, factor.x, exponent);
}
