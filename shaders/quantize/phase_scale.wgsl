// Computes: (sum |re|, count) over weights coded +-1 and (sum |im|, count) over those coded +-i, of the residual E_STAGE
// Inputs: the real weight r and the scales of the stages before STAGE
// Work split: one workgroup owns one group of columns of one complex row, one invocation four columns of every 256
// Shapes: r [rows + lower_rows, columns]; scales [blocks, groups, matrices, stages] of (re, im);
//         sums [total rows, groups, matrices, 2] of (low, high, count)

override STAGE: u32 = 0u;

@group(0) @binding(3) var<storage, read_write> sums: array<u32>;

const WIDTH = 64u;
// columns of an invocation whose sums of 18 bits an f32 holds exactly: 64 * 2^18 is 2^24
const MOST = 64u;
const PITCH = WIDTH + 1u; // lanes that read different values find them in different banks
const TILES = WIDTH / 16u;

// Sums of magnitudes in halves of 18 bits (high, low): of all weights, and of those coded +-i, which are counted.
struct Tally {
    all: vec2<f32>,
    odd: vec2<f32>,
    count: f32,
}

// the ten numbers of two tallies, of U and then of W, of each invocation; and of each tile of 16 invocations
var<workgroup> by_lane: array<u32, 10u * PITCH>;
var<workgroup> by_tile: array<u32, 10u * TILES>;

fn sum(x: vec4<f32>) -> f32 {
    return (x.x + x.y) + (x.z + x.w);
}

// Adds four numbers to a tally. Every float here is an integer up to 2^24 or a number scaled by a power of two, so all steps
// are exact.
fn tally(t: Tally, re: vec4<f32>, im: vec4<f32>, there: vec4<bool>, unit: f32) -> Tally {
    let k = phase_sectors(re, im);
    let odd = select(vec4(0.0), vec4(1.0), (k.low != k.high) & there);
    // The coordinate on the axis of its sector is the larger one.
    let scaled = select(vec4(0.0), max(abs(re), abs(im)) * unit, there);
    let high = floor(scaled);
    let low = floor((scaled - high) * 262144.0);
    var next = t;
    next.all += vec2(sum(high), sum(low));
    next.odd += vec2(sum(odd * high), sum(odd * low));
    next.count += sum(odd);
    return next;
}

fn put(t: Tally, value: u32, lane: u32) {
    let at = value * PITCH + lane;
    by_lane[at] = u32(t.all.x);
    by_lane[at + PITCH] = u32(t.all.y);
    by_lane[at + 2u * PITCH] = u32(t.odd.x);
    by_lane[at + 3u * PITCH] = u32(t.odd.y);
    by_lane[at + 4u * PITCH] = u32(t.count);
}

// Sums by_lane over the invocations of each tile; in the end 64 invocations of 64 columns of 18 bits make 30 bits.
fn gather(lane: u32) {
    let value = lane % 16u;
    if value < 5u * MATRICES {
        var total = 0u;
        for (var i = 0u; i < 16u; i++) {
            total += by_lane[value * PITCH + lane / 16u * 16u + i];
        }
        by_tile[value * TILES + lane / 16u] = total;
    }
}

fn total_of(value: u32) -> u32 {
    var total = 0u;
    for (var tile = 0u; tile < TILES; tile++) {
        total += by_tile[value * TILES + tile];
    }
    return total;
}

// Adds to (low, high, count) of matrix lane / 2 (U, W) on axis lane % 2 (real, imaginary). The count of the real axis begins
// with all weights, and those of the imaginary axis are taken off.
fn fold(before: vec3<u32>, lane: u32) -> vec3<u32> {
    let value = lane / 2u * 5u;
    let odd = vec3(total_of(value + 2u), total_of(value + 3u), total_of(value + 4u));
    let all = vec2(total_of(value), total_of(value + 1u));
    let imaginary = lane % 2u == 1u;
    let halves = select(all - odd.xy, odd.xy, imaginary);
    let size = wide_add(wide_shl(vec2(halves.x, 0u), 18u), vec2(halves.y, 0u));
    return vec3(wide_add(before.xy, size), before.z + select(0u - odd.z, odd.z, imaginary));
}

@compute @workgroup_size(WIDTH)
fn phase_scale(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = wg.x + wg.y * nwg.x;
    if index >= p.rows * p.groups {
        return;
    }
    // Each pass over the weight begins where the one before it ended, because that end is still in the cache.
    let swept = select(index, p.rows * p.groups - 1u - index, STAGE % 2u == 0u);
    let row = swept / p.groups;
    let group = swept % p.groups;
    let first = columns_scales(row, group);
    let begin = group * p.group;
    let end = min(p.half, begin + p.group);
    // 2^(18 - exponent), halved because all numbers are doubled
    let unit = bitcast<f32>(u32(144 - p.exponent) << 23u);
    var total = vec3(0u, 0u, select(end - begin, 0u, lane % 2u == 1u));
    for (var chunk = begin; chunk < end; chunk += MOST * WIDTH) {
        let to = min(end, chunk + MOST * WIDTH);
        var u = Tally();
        var w = Tally();
        for (var c = chunk + 4u * lane; c < to; c += 4u * WIDTH) {
            var z = columns_split(columns_load(row, c));
            for (var s = 0u; s < STAGE; s++) {
                z = columns_step(z, phase_sectors(z.a, z.b), phase_sectors(z.c, z.d), first + s);
            }
            let there = vec4(!RAGGED) | (c + vec4(0u, 1u, 2u, 3u) < vec4(end));
            u = tally(u, z.a, z.b, there, unit);
            if MATRICES == 2u {
                w = tally(w, z.c, z.d, there, unit);
            }
        }
        put(u, 0u, lane);
        if MATRICES == 2u {
            put(w, 5u, lane);
        }
        workgroupBarrier();
        gather(lane);
        workgroupBarrier();
        if lane < 2u * MATRICES {
            total = fold(total, lane);
        }
    }
    if lane < 2u * MATRICES {
        let at = (((p.first_row + row) * p.groups + group) * 2u * MATRICES + lane) * 3u;
        sums[at] = total.x;
        sums[at + 1u] = total.y;
        sums[at + 2u] = total.z;
    }
}
