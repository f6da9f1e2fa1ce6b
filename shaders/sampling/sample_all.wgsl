// Computes: chosen = one of all elements of each row, drawn by integer weights among those that top-k, top-p and min-p keep
// Inputs: settings as those of sample
// Work split: one workgroup owns one row. In the order of (distance to the best, index) each filter keeps a prefix, which
//    its sum of weights names; searches by radix find the elements at which the running sum passes a number
// Shapes: x [rows, n] f32 bits; settings [rows, 4] or [1, 4]; random and chosen [offset + rows] u32

struct Params {
    rows: u32,
    n: u32,
    offset: u32, // index of row 0 in random and chosen
    settings_stride: u32, // 1: rows have settings of their own; 0: one row of settings serves all
    least_k: u32, // rows with a smaller k, but for 0, are left alone, and those that take the best element
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> settings: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> random: array<u32>;
@group(0) @binding(4) var<storage, read_write> chosen: array<u32>;

override WIDTH: u32;

const ALL = 0xffffffffu;        // a top-p that keeps everything

// A row while it is read.
struct Row {
    base: u32,
    limit: u32, // its elements; none where it is not drawn here
    best: u32,  // bits of the best one
    rate: f32,
    farthest: u32, // the greatest distance that min-p keeps
}

var<workgroup> best_key: atomic<u32>;
var<private> likely: vec2<u32>; // the weights that min-p keeps

// Four words, a workgroup's width apart. They are loaded together, because latency is what a lone workgroup waits for.
fn words(base: u32, i: u32) -> vec4<u32> {
    let source = base + min(i + WIDTH * vec4(0u, 1u, 2u, 3u), vec4(p.n - 1u));
    return vec4(x[source.x], x[source.y], x[source.z], x[source.w]);
}

// bits of the greatest element, for all invocations
fn best_of(lane: u32, base: u32, limit: u32) -> u32 {
    if lane == 0u {
        atomicStore(&best_key, 0u);
    }
    workgroupBarrier();
    var best = 0u;
    for (var i = lane; i < limit; i += 8u * WIDTH) {
        let near = words(base, i);
        let far = words(base, i + 4u * WIDTH); // beyond the row it is the last element again
        for (var j = 0u; j < 4u; j++) {
            best = max(best, max(key_of(near[j]), key_of(far[j])));
        }
    }
    atomicMax(&best_key, best);
    workgroupBarrier();
    return key_bits(atomicLoad(&best_key));
}

fn tally(row: Row, word: u32, i: u32, level: u32, now: Radix) {
    let distance = draw_distance(row.best, word, row.rate);
    if i < row.limit && distance <= DRAW_LAST && radix_holds(now, vec2(distance, i)) {
        let weight = draw_weight(distance);
        radix_add(vec2(distance, i), level, weight);
        likely = wide_add(likely, vec2(select(0u, weight, distance <= row.farthest), 0u));
    }
}

// Fills the bins with the byte `level` of the elements that are searched; the bin of this invocation.
fn weigh(row: Row, lane: u32, level: u32, now: Radix) -> vec3<u32> {
    radix_clear(lane);
    workgroupBarrier();
    for (var i = lane; i < row.limit; i += 8u * WIDTH) {
        let near = words(row.base, i);
        let far = words(row.base, i + 4u * WIDTH);
        for (var j = 0u; j < 4u; j++) {
            tally(row, near[j], i + j * WIDTH, level, now);
            tally(row, far[j], i + (j + 4u) * WIDTH, level, now);
        }
    }
    workgroupBarrier();
    return radix_sum(lane);
}

// The index of the one element that was found; none where no element is a number above minus infinity.
fn write(lane: u32, at: u32, row: Row, now: Radix) {
    for (var i = lane; i < row.limit; i += WIDTH) {
        let distance = draw_distance(row.best, x[row.base + i], row.rate);
        if now.here.z == 1u && distance <= DRAW_LAST && radix_holds(now, vec2(distance, i)) {
            chosen[p.offset + at] = i;
        }
    }
    if lane == 0u && row.limit > 0u && now.here.z == 0u {
        chosen[p.offset + at] = 0xffffffffu;
    }
}

@compute @workgroup_size(WIDTH)
fn sample_all(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = wg.x + wg.y * nwg.x;
    if at >= p.rows {
        return;
    }
    let how = settings[at * p.settings_stride];
    let elsewhere = how.x == DRAW_BEST || (how.w > 0u && how.w < p.least_k);
    let limit = select(p.n, 0u, elsewhere);
    let row = Row(at * p.n, limit, best_of(lane, at * p.n, limit), bitcast<f32>(how.x), how.z);
    let first = weigh(row, lane, 0u, radix_start());
    let first_sum = select(vec3(0u), scan_sums[min(lane, 255u)], lane < 256u);
    var kept = scan_sums[255].xy;
    let likely_sum = scan_total(lane, likely);
    // What top-k keeps, of that what top-p keeps, and of that the token.
    for (var stage = 0u; stage < 3u; stage++) {
        let by_count = stage == 0u;
        let skipped = (stage == 0u && how.w == 0u) || (stage == 1u && how.y == ALL);
        var number = vec2(how.w - 1u, 0u);
        if stage == 1u {
            number = draw_enough(kept, how.y);
        } else if stage == 2u {
            number = draw_scaled(wide_min(kept, likely_sum), random[p.offset + at]);
        }
        var now = radix_start();
        if lane == 0u {
            radix_found = now;
        }
        workgroupBarrier();
        radix_choose(lane, 0u, now, first, first_sum, number, by_count);
        now = workgroupUniformLoad(&radix_found);
        // The equals of the k-th stay, so that a search for it knows enough with the distance.
        let levels = select(select(8u, 4u, by_count), 0u, skipped);
        for (var level = 1u; level < levels && now.here.z > 1u; level = radix_next(level, p.n)) {
            let bin = weigh(row, lane, level, now);
            radix_choose(lane, level, now, bin, scan_sums[min(lane, 255u)], number, by_count);
            now = workgroupUniformLoad(&radix_found);
        }
        if !skipped && now.here.z > 0u {
            kept = scan_add(now.before, now.here).xy;
        }
    }
    write(lane, at, row, workgroupUniformLoad(&radix_found));
}
