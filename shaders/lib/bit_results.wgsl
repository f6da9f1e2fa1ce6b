// Results of a workgroup's rows and a tile of tokens from the sums of bit_sums.wgsl, exact until the one rounding. An
// invocation owns up to four results, WIDTH apart, as named members: what is indexed would live in memory.
// Requires: absmax, accumulate_half, bit_integer, bit_total, bits_to_f32, scale_blocks, p, planes_code_sums, stack_place,
//    y, BYTES, NOWHERE, PLANES, ROWS, WIDTH
// Provides: RESULTS, OWN_RESULTS, Outputs, Own, bit_gather, bit_store, bit_outputs, bit_all_scales

// results of a tile (halves of complex numbers, rows, tokens), and of an invocation at most
override RESULTS = 128u * ROWS / BYTES;
override OWN_RESULTS = (RESULTS + WIDTH - 1u) / WIDTH;

// Which result of a tile it is.
struct Result {
    row: u32,   // of the workgroup's
    half: u32,  // 0 real, 1 imaginary
    plane: u32, // the first byte plane of its token
}

// Where a result goes, and what it needs besides its sums; loaded before the sums are there.
struct Output {
    scale_block: u32, // index of its scales in `scale_blocks`
    dst: u32,         // index in y, or NOWHERE
    factor: u32,      // bits of what one integer of its token is worth
    before: f32,      // what it is added to
    exponent: u32,
}

struct Outputs {
    r0: Output,
    r1: Output,
    r2: Output,
    r3: Output,
}

// Two words for each of an invocation's results: 64-bit sums, or the two scales of a plane.
struct Own {
    r0: vec2<u32>,
    r1: vec2<u32>,
    r2: vec2<u32>,
    r3: vec2<u32>,
}

// Result i. Tokens lie side by side, so that neighbours among the invocations find their sums in different banks.
fn bit_result(i: u32) -> Result {
    let tokens = 8u / BYTES;
    let rows = 8u * ROWS;
    return Result(i / tokens % rows, i / (tokens * rows), i % tokens * 2u * BYTES);
}

fn bit_output(i: u32, first_row: u32, first_plane: u32) -> Output {
    let r = bit_result(i);
    let token = (first_plane + r.plane) / (2u * BYTES);
    let row = first_row + r.row;
    if i >= RESULTS || token >= p.tokens || row >= p.shard_rows {
        return Output(0u, NOWHERE, 0u, 0.0, 0u);
    }
    let place = stack_place(p, p.first_row + row);
    let offset = select(place.y, place.z, r.half == 1u);
    let scale_block = place.x * (1u + 2u * PLANES);
    let dst = select(token * p.outputs + offset, NOWHERE, offset == NOWHERE);
    var before = 0.0;
    if p.accumulate == 1u && dst != NOWHERE {
        before = y[dst];
    }
    return Output(scale_block, dst, absmax[token], before, scale_blocks[scale_block]);
}

// The scales of plane t.
fn bit_scales(output: Output, t: u32) -> vec2<u32> {
    let m = output.scale_block + 1u + 2u * t;
    return vec2(scale_blocks[m], scale_blocks[m + 1u]);
}

// Adds plane t, whose sums lie in workgroup memory, to result i of a tile.
fn bit_gather(acc: vec2<u32>, tile: u32, t: u32, i: u32, scales: vec2<u32>) -> vec2<u32> {
    let r = bit_result(i);
    let total = vec2(bit_total(16u * tile + r.plane), bit_total(16u * tile + r.plane + BYTES));
    let index = r.row / 8u * 256u + r.row % 8u * 16u + r.plane;
    let bit_sums = vec4(
        bit_integer(index, 128.0),
        bit_integer(index + 128u, 0.5),
        bit_integer(index + BYTES, 128.0),
        bit_integer(index + 128u + BYTES, 0.5),
    );
    let code_sums = planes_code_sums(bit_sums, total);
    return accumulate_half(acc, code_sums, scales.x, scales.y, t >= 2u, r.half == 1u);
}

fn bit_store(sum: vec2<u32>, output: Output) {
    if output.dst != NOWHERE {
        y[output.dst] = output.before + bits_to_f32(sum, output.factor, i32(output.exponent));
    }
}

fn bit_outputs(index: u32, first_row: u32, first_plane: u32) -> Outputs {
    var a: Outputs;
    a.r0 = bit_output(index, first_row, first_plane);
    if OWN_RESULTS > 1u {
        a.r1 = bit_output(index + WIDTH, first_row, first_plane);
    }
    if OWN_RESULTS > 2u {
        a.r2 = bit_output(index + 2u * WIDTH, first_row, first_plane);
    }
    if OWN_RESULTS > 3u {
        a.r3 = bit_output(index + 3u * WIDTH, first_row, first_plane);
    }
    return a;
}

fn bit_all_scales(a: Outputs, t: u32) -> Own {
    var m: Own;
    m.r0 = bit_scales(a.r0, t);
    if OWN_RESULTS > 1u {
        m.r1 = bit_scales(a.r1, t);
    }
    if OWN_RESULTS > 2u {
        m.r2 = bit_scales(a.r2, t);
    }
    if OWN_RESULTS > 3u {
        m.r3 = bit_scales(a.r3, t);
    }
    return m;
}
