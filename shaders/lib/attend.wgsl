// Attention of one head of one token to a range of positions, by a workgroup of 256. The kernel declares `qkv`, `k_cache` and
// `v_cache`, the override SOFTCAP and, in its parameters, `heads`, `kv_heads`, `head_dim` and `scale`. Teams of 8 lanes make
// the scores of a tile of positions together; then every lane owns a pair of values and adds its share of the tile's
// positions.
// Requires: k_cache, kv_pair, p, qkv, ring_lap, ring_place, ring_places, softcap_of, v_cache
// Provides: WIDTH, attend

const WIDTH = 256u;
const ATTEND_PAIRS = 128u;               // most pairs of values in a head
const ATTEND_TILE = 128u;                // positions whose scores lie in workgroup memory together
const ATTEND_TEAM = 8u;                  // lanes that share a position
const ATTEND_STEP = WIDTH / ATTEND_TEAM; // positions scored at the same time; a tile takes four such steps
const ATTEND_MAXIMA = 16u;

var<workgroup> attend_q: array<vec2<f32>, ATTEND_PAIRS + 4u * ATTEND_TEAM>; // zero beyond the head
var<workgroup> attend_partials: array<f32, ATTEND_TILE * ATTEND_TEAM>;      // [ATTEND_TEAM, ATTEND_TILE]
var<workgroup> attend_scores: array<f32, ATTEND_TILE>;
var<workgroup> attend_maxima: array<f32, ATTEND_MAXIMA>;

// One pair of q with the same pair of the keys at four indices. Lanes beyond the head read its last pair, and q is 0 there.
fn attend_products(keys: vec4<u32>, d: u32) -> vec4<f32> {
    let i = keys + min(d, p.head_dim / 2u - 1u);
    return attend_q[d] * mat4x2(kv_pair(k_cache[i.x]), kv_pair(k_cache[i.y]), kv_pair(k_cache[i.z]), kv_pair(k_cache[i.w]));
}

// positions that are scored together, and where they lie
struct AttendTile {
    start: u32, // the first
    count: u32,
    lap: u32,   // of the ring that their slot is
    base: u32,  // the head's pair 0 at the slot's first position
}

// Scores of the positions of a tile.
fn attend_score(lane: u32, tile: AttendTile) {
    let team = lane / ATTEND_TEAM;
    let member = lane % ATTEND_TEAM;
    let pairs = p.head_dim / 2u;
    let last = tile.start + tile.count - 1u; // teams without a position score this one, and nobody reads what they make
    let positions = min(tile.start + team + ATTEND_STEP * vec4(0u, 1u, 2u, 3u), vec4(last));
    let keys = ring_places(positions, tile.lap) * p.kv_heads * pairs + tile.base;
    var dots = vec4(0.0);
    // Sixteen loads are requested at once: their latency is what this kernel waits for.
    for (var d = member; d < pairs; d += 4u * ATTEND_TEAM) {
        dots += (attend_products(keys, d) + attend_products(keys, d + ATTEND_TEAM))
            + (attend_products(keys, d + 2u * ATTEND_TEAM) + attend_products(keys, d + 3u * ATTEND_TEAM));
    }
    let dst = member * ATTEND_TILE + team;
    attend_partials[dst] = dots.x;
    attend_partials[dst + ATTEND_STEP] = dots.y;
    attend_partials[dst + 2u * ATTEND_STEP] = dots.z;
    attend_partials[dst + 3u * ATTEND_STEP] = dots.w;
    workgroupBarrier();
    if lane < ATTEND_TILE {
        var s = 0.0;
        for (var i = 0u; i < ATTEND_TEAM; i++) {
            s += attend_partials[i * ATTEND_TILE + lane];
        }
        attend_scores[lane] = softcap_of(vec4(s)).x;
    }
    workgroupBarrier();
}

// the largest of the first `count` scores
fn attend_largest(lane: u32, count: u32) -> f32 {
    if lane < ATTEND_MAXIMA {
        var top = attend_scores[0];
        for (var i = lane; i < count; i += ATTEND_MAXIMA) {
            top = max(top, attend_scores[i]);
        }
        attend_maxima[lane] = top;
    }
    workgroupBarrier();
    var top = attend_maxima[0];
    for (var i = 1u; i < ATTEND_MAXIMA; i++) {
        top = max(top, attend_maxima[i]);
    }
    return top;
}

// weight and weighted values of pair `pair` at position `i` of the tile; zeros if there is no such position
fn attend_weighted(i: u32, tile: AttendTile, pair: u32) -> vec3<f32> {
    let j = min(i, tile.count - 1u);
    let row = ring_place(tile.start + j, tile.lap);
    let v = kv_pair(v_cache[row * p.kv_heads * (p.head_dim / 2u) + tile.base + pair]);
    return select(0.0, attend_scores[j], i < tile.count) * vec3(1.0, v);
}

fn attend_weighted_four(i: u32, step: u32, tile: AttendTile, pair: u32) -> vec3<f32> {
    return (attend_weighted(i, tile, pair) + attend_weighted(i + step, tile, pair))
        + (attend_weighted(i + 2u * step, tile, pair) + attend_weighted(i + 3u * step, tile, pair));
}

// sums over the lanes that own the same pair, in the lanes below head_dim / 2
fn attend_gather(lane: u32, mine: vec3<f32>) -> vec3<f32> {
    attend_partials[lane] = mine.x;
    attend_partials[WIDTH + lane] = mine.y;
    attend_partials[2u * WIDTH + lane] = mine.z;
    workgroupBarrier();
    let pairs = p.head_dim / 2u;
    var sums = vec3(0.0);
    for (var i = lane; i + pairs <= WIDTH + lane && lane < pairs; i += pairs) {
        sums += vec3(attend_partials[i], attend_partials[WIDTH + i], attend_partials[2u * WIDTH + i]);
    }
    return sums;
}

fn attend_load_q(lane: u32, row: u32, head: u32) {
    let pairs = p.head_dim / 2u;
    if lane < ATTEND_PAIRS + 4u * ATTEND_TEAM {
        let index = (row * (p.heads + 2u * p.kv_heads) + head) * pairs + min(lane, pairs - 1u);
        attend_q[lane] = qkv[index] * select(0.0, p.scale, lane < pairs);
    }
    workgroupBarrier();
}

struct Attended {
    top: f32,        // the largest score
    sums: vec3<f32>, // of the weights exp(score - top) and of a pair of weighted values: for lanes below head_dim / 2
}

// Head `head` of row `row` of qkv over the positions range.x..range.y of the slot that begins at cache row `slot_row`;
// zeros if the range is empty.
fn attend(lane: u32, row: u32, head: u32, slot_row: u32, range: vec2<u32>) -> Attended {
    attend_load_q(lane, row, head);
    let pairs = p.head_dim / 2u;
    let base = (slot_row * p.kv_heads + head / (p.heads / p.kv_heads)) * pairs;
    let slices = WIDTH / pairs; // every lane owns one pair and every slices-th position
    let slice = lane / pairs;
    var top = 0.0;
    var sums = vec3(0.0);
    let lap = ring_lap(range.x);
    for (var start = range.x; start < range.y; start += ATTEND_TILE) {
        let tile = AttendTile(start, min(ATTEND_TILE, range.y - start), lap, base);
        attend_score(lane, tile);
        let above = attend_largest(lane, tile.count);
        let before = select(above, top, start > range.x);
        top = max(before, above);
        sums *= exp(before - top);
        if lane < tile.count {
            attend_scores[lane] = exp(attend_scores[lane] - top);
        }
        workgroupBarrier();
        for (var i = slice; i < tile.count && slice < slices; i += 8u * slices) {
            sums += attend_weighted_four(i, slices, tile, lane % pairs)
                + attend_weighted_four(i + 4u * slices, slices, tile, lane % pairs);
        }
    }
    return Attended(top, attend_gather(lane, sums));
}
