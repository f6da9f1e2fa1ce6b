// Computes: of each row of scores the `chosen` largest, best first, the first one of equals, and their shares of the softmax, or
// of that of the chosen alone
// Inputs: finite scores
// Work split: one workgroup owns one row
// Shapes: scores [rows, experts] f32; ids [rows, chosen] u32; weights [rows, chosen] f32

struct Params {
    tokens: u32,
    experts: u32, // at most 2048
    chosen: u32,
    normalized: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> scores: array<f32>;
@group(0) @binding(2) var<storage, read_write> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> weights: array<f32>;

const WIDTH = 128u;
const MOST = 2048u;
const GONE = -3.4e38;

var<workgroup> left: array<f32, MOST>;             // scores that are not chosen yet
var<workgroup> best: array<vec2<f32>, WIDTH>;      // (score, index) of each invocation, then of the row
var<workgroup> partial_sums: array<f32, WIDTH>;

fn route_better(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    let first = a.x > b.x || (a.x == b.x && a.y < b.y);
    return select(b, a, first);
}

// the best score that is left, and its index, in best[0]
fn route_find(lane: u32) {
    var own = vec2(GONE, f32(MOST));
    for (var i = lane; i < p.experts; i += WIDTH) {
        own = route_better(own, vec2(left[i], f32(i)));
    }
    best[lane] = own;
    workgroupBarrier();
    for (var half = WIDTH / 2u; half > 0u; half /= 2u) {
        if lane < half {
            best[lane] = route_better(best[lane], best[lane + half]);
        }
        workgroupBarrier();
    }
}

// the sum of exp(score - top) over the row
fn route_sum(lane: u32, base: u32, top: f32) -> f32 {
    var own = 0.0;
    for (var i = lane; i < p.experts; i += WIDTH) {
        own += exp(scores[base + i] - top);
    }
    partial_sums[lane] = own;
    workgroupBarrier();
    for (var half = WIDTH / 2u; half > 0u; half /= 2u) {
        if lane < half {
            partial_sums[lane] += partial_sums[lane + half];
        }
        workgroupBarrier();
    }
    return partial_sums[0];
}

@compute @workgroup_size(WIDTH)
fn route(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.tokens {
        return;
    }
    let base = row * p.experts;
    for (var i = lane; i < p.experts; i += WIDTH) {
        left[i] = scores[base + i];
    }
    workgroupBarrier();
    route_find(lane);
    let top = best[0].x;
    var sum = 0.0;
    if p.normalized == 0u {
        sum = route_sum(lane, base, top);
    }
    for (var c = 0u; c < p.chosen; c++) {
        let found = best[0];
        workgroupBarrier();
        let share = exp(found.x - top);
        if p.normalized == 1u {
            sum += share;
        }
        if lane == 0u {
            ids[row * p.chosen + c] = u32(found.y);
            weights[row * p.chosen + c] = share;
            left[u32(found.y)] = GONE;
        }
        workgroupBarrier();
        route_find(lane);
    }
    if lane == 0u {
        for (var c = 0u; c < p.chosen; c++) {
            weights[row * p.chosen + c] /= sum;
        }
    }
}
