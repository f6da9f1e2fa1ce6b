// Computes: chosen = one of the candidates of each row, drawn by integer weights among those that top-k, top-p and min-p
//    keep
// Inputs: settings [rows, 4], or [1, 4] for all rows: 2^27 log2 e / temperature f32, top-p in units of 2^-32, the greatest
//    distance that min-p keeps, k; an infinite rate takes the best one, and rows of sample_all are left alone
// Work split: one workgroup owns one row, an invocation one candidate; what the filters keep is a prefix of the candidates
// Shapes: ids [rows, k] u32 and logits [rows, k] f32 bits, best first; random and chosen [offset + rows] u32

struct Params {
    rows: u32,
    k: u32,      // candidates that lie there for each row; it may draw from fewer
    offset: u32, // index of row 0 in random and chosen
    settings_stride: u32, // 1: rows have settings of their own; 0: one row of settings serves all
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> logits: array<u32>;
@group(0) @binding(3) var<storage, read> settings: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> random: array<u32>;
@group(0) @binding(5) var<storage, read_write> chosen: array<u32>;

const WIDTH = 256u;
const MOST_K = 256u; // rows with a larger k are drawn by sample_all

var<workgroup> distances: array<u32, WIDTH>;
var<workgroup> kept: array<vec2<u32>, 3>; // sums of weights that top-k, min-p and top-p keep
var<workgroup> place: u32;

// how many candidates a row with these settings looks at; none where it is not drawn here
fn candidates(how: vec4<u32>) -> u32 {
    let of_k = select(MOST_K, 64u, how.w <= 40u);
    let own = select(of_k, 0u, how.w == 0u || how.w > MOST_K);
    return min(select(own, 1u, how.x == DRAW_BEST), p.k);
}

fn less(a: vec2<u32>, b: vec2<u32>) -> bool {
    return wide_cmp(a, b) < 0;
}

// The greatest distance that top-k keeps: that of the k-th, so that its equals stay.
fn last_distance(k: u32, count: u32) -> u32 {
    return distances[max(min(k, count), 1u) - 1u];
}

// The candidate that lies `place` behind the first one becomes the one that the order of ids puts there among its equals.
fn settle(lane: u32, row: u32, count: u32) {
    let distance = distances[place];
    if lane >= count || distances[lane] != distance {
        return;
    }
    let base = row * p.k;
    let mine = ids[base + lane];
    var wanted = 0u;
    var rank = 0u;
    for (var i = 0u; i < count; i++) {
        if distances[i] == distance {
            wanted += select(0u, 1u, i < place);
            rank += select(0u, 1u, ids[base + i] < mine);
        }
    }
    if rank == wanted {
        chosen[p.offset + row] = mine;
    }
}

@compute @workgroup_size(WIDTH)
fn sample(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.rows {
        return;
    }
    let base = row * p.k;
    let number = random[p.offset + row];
    let how = settings[row * p.settings_stride];
    let count = candidates(how);
    var distance = DRAW_NEVER;
    if lane < count {
        let rate = select(bitcast<f32>(how.x), 1.0, how.x == DRAW_BEST);
        distance = draw_distance(logits[base], logits[base + lane], rate);
    }
    distances[lane] = distance;
    let weight = draw_weight(distance);
    scan_all(lane, vec3(weight, 0u, 0u));
    let sum = scan_sums[lane].xy;
    let before = wide_sub(sum, vec2(weight, 0u));
    let next = select(distances[min(lane + 1u, WIDTH - 1u)], DRAW_NEVER, lane == WIDTH - 1u);
    // The last one that a filter keeps says what the filter keeps.
    let end = lane == WIDTH - 1u;
    let last = last_distance(how.w, count);
    if distance <= last && (end || next > last) {
        kept[0] = sum;
    }
    if distance <= how.z && (end || next > how.z) {
        kept[1] = sum;
    }
    workgroupBarrier();
    let enough = draw_enough(kept[0], how.y);
    if !less(enough, before) && less(enough, sum) {
        kept[2] = sum;
    }
    workgroupBarrier();
    let drawn = draw_scaled(wide_min(wide_min(kept[0], kept[1]), kept[2]), number);
    if !less(drawn, before) && less(drawn, sum) {
        place = lane;
    }
    workgroupBarrier();
    if all(scan_sums[WIDTH - 1u].xy == vec2(0u)) {
        // With a best logit that is no number, or minus infinity, nothing can be chosen.
        if lane == 0u && count > 0u {
            chosen[p.offset + row] = 0xffffffffu;
        }
    } else {
        settle(lane, row, count);
    }
}
