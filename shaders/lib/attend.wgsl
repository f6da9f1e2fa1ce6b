// One head of one row over a range of positions, by a workgroup of 256. The kernel declares `p`, `qkv`, `k_cache`
// and `v_cache`; teams of 8 lanes make scores, a tile of positions at a time, then lanes own pairs of values.

const WIDTH = 256u;
const PAIRS = 128u;         // most pairs of values in a head
const TILE = 128u;          // positions whose scores are held at once
const TEAM = 8u;            // lanes that share a position
const STEP = WIDTH / TEAM;  // positions scored at the same time, four times a tile
const TOPS = 16u;

var<workgroup> q: array<vec2<f32>, PAIRS + 4u * TEAM>; // zero beyond the head
var<workgroup> partial: array<f32, TILE * TEAM>;       // [TEAM, TILE]
var<workgroup> scores: array<f32, TILE>;
var<workgroup> tops: array<f32, TOPS>;

// one pair of q with that of four positions of k; lanes beyond the head read its last pair, times zero
fn products(at: vec4<u32>, d: u32) -> vec4<f32> {
    let i = at + min(d, p.head_dim / 2u - 1u);
    return q[d] * mat4x2(pair_of(k_cache[i.x]), pair_of(k_cache[i.y]), pair_of(k_cache[i.z]), pair_of(k_cache[i.w]));
}

// scores of the tile from position `start` on, of which `count` exist; kv is the head's place in a cache row
fn score(lane: u32, start: u32, count: u32, kv: u32) {
    let team = lane / TEAM;
    let member = lane % TEAM;
    let pairs = p.head_dim / 2u;
    let last = start + count - 1u; // lanes without a position read this one, and are not asked
    let places = min(start + team + STEP * vec4(0u, 1u, 2u, 3u), vec4(last));
    let at = places * p.kv_heads * pairs + kv;
    var dots = vec4(0.0);
    // sixteen loads at once: their latency is what this kernel waits for
    for (var d = member; d < pairs; d += 4u * TEAM) {
        dots += (products(at, d) + products(at, d + TEAM))
            + (products(at, d + 2u * TEAM) + products(at, d + 3u * TEAM));
    }
    let to = member * TILE + team;
    partial[to] = dots.x;
    partial[to + STEP] = dots.y;
    partial[to + 2u * STEP] = dots.z;
    partial[to + 3u * STEP] = dots.w;
    workgroupBarrier();
    if lane < TILE {
        var s = 0.0;
        for (var i = 0u; i < TEAM; i++) {
            s += partial[i * TILE + lane];
        }
        scores[lane] = s;
    }
    workgroupBarrier();
}

// the largest of the first `count` scores
fn largest(lane: u32, count: u32) -> f32 {
    if lane < TOPS {
        var top = scores[0];
        for (var i = lane; i < count; i += TOPS) {
            top = max(top, scores[i]);
        }
        tops[lane] = top;
    }
    workgroupBarrier();
    var top = tops[0];
    for (var i = 1u; i < TOPS; i++) {
        top = max(top, tops[i]);
    }
    return top;
}

// weight and weighted values of one position of the tile; nothing if there is no such position
fn weighted(i: u32, count: u32, first: u32) -> vec3<f32> {
    let j = min(i, count - 1u);
    let v = pair_of(v_cache[first + j * p.kv_heads * (p.head_dim / 2u)]);
    return select(0.0, scores[j], i < count) * vec3(1.0, v);
}

fn weighted_four(i: u32, step: u32, count: u32, first: u32) -> vec3<f32> {
    return (weighted(i, count, first) + weighted(i + step, count, first))
        + (weighted(i + 2u * step, count, first) + weighted(i + 3u * step, count, first));
}

// sums over the lanes of each pair, in the lanes below head_dim / 2
fn gather(lane: u32, mine: vec3<f32>) -> vec3<f32> {
    partial[lane] = mine.x;
    partial[WIDTH + lane] = mine.y;
    partial[2u * WIDTH + lane] = mine.z;
    workgroupBarrier();
    let pairs = p.head_dim / 2u;
    var sums = vec3(0.0);
    for (var at = lane; at + pairs <= WIDTH + lane && lane < pairs; at += pairs) {
        sums += vec3(partial[at], partial[WIDTH + at], partial[2u * WIDTH + at]);
    }
    return sums;
}

fn load_q(lane: u32, row: u32, head: u32) {
    let pairs = p.head_dim / 2u;
    if lane < PAIRS + 4u * TEAM {
        let at = (row * (p.heads + 2u * p.kv_heads) + head) * pairs + min(lane, pairs - 1u);
        q[lane] = qkv[at] * select(0.0, p.scale, lane < pairs);
    }
    workgroupBarrier();
}

struct Attended {
    top: f32,        // the largest score
    sums: vec3<f32>, // of weights exp(score - top), of weighted values: for lanes below head_dim / 2
}

// positions begin..end; zeros if there are none
fn attend(lane: u32, row: u32, head: u32, begin: u32, end: u32) -> Attended {
    load_q(lane, row, head);
    let pairs = p.head_dim / 2u;
    let kv = (p.first * p.kv_heads + head / (p.heads / p.kv_heads)) * pairs;
    // every lane owns one pair and every slices-th position
    let slices = WIDTH / pairs;
    let slice = lane / pairs;
    var top = 0.0;
    var sums = vec3(0.0);
    for (var start = begin; start < end; start += TILE) {
        let count = min(TILE, end - start);
        score(lane, start, count, kv);
        let above = largest(lane, count);
        let before = select(above, top, start > begin);
        top = max(before, above);
        sums *= exp(before - top);
        if lane < count {
            scores[lane] = exp(scores[lane] - top);
        }
        workgroupBarrier();
        let first = start * p.kv_heads * pairs + kv + lane % pairs;
        for (var i = slice; i < count && slice < slices; i += 8u * slices) {
            sums += weighted_four(i, slices, count, first)
                + weighted_four(i + 4u * slices, slices, count, first);
        }
    }
    return Attended(top, gather(lane, sums));
}
