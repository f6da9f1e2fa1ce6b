// index = the lowest i with x[i] = max x, per row
// one workgroup owns one row
// x [rows, n] f32 bits; index [to + rows] u32; needs key.wgsl, a best_*.wgsl

struct Params {
    rows: u32,
    n: u32,
    to: u32, // place of the first index
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> index: array<u32>;

override WIDTH: u32;

fn better(a: vec2<u32>, b: vec2<u32>) -> bool {
    return (a.x > b.x) | ((a.x == b.x) & (a.y < b.y));
}

fn best_of(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return select(b, a, better(a, b));
}

// element i, whose bits are `word`; beyond the row one that is worse than any
fn element(word: u32, i: u32) -> vec2<u32> {
    return select(vec2(0u, 0xffffffffu), vec2(order_key(word), i), i < p.n);
}

// four words, a workgroup's width apart
fn words(base: u32, i: u32) -> vec4<u32> {
    let at = base + min(i + WIDTH * vec4(0u, 1u, 2u, 3u), vec4(p.n - 1u));
    return vec4(x[at.x], x[at.y], x[at.z], x[at.w]);
}

fn best_of_four(word: vec4<u32>, i: u32) -> vec2<u32> {
    let a = best_of(element(word.x, i), element(word.y, i + WIDTH));
    let b = best_of(element(word.z, i + 2u * WIDTH), element(word.w, i + 3u * WIDTH));
    return best_of(a, b);
}

@compute @workgroup_size(WIDTH)
fn argmax(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.rows {
        return;
    }
    let base = row * p.n;
    var mine = vec2(0u, 0xffffffffu);
    // sixteen loads at once: one workgroup has little else to hide their latency with
    for (var i = lane; i < p.n; i += 16u * WIDTH) {
        let a = words(base, i);
        let b = words(base, i + 4u * WIDTH);
        let c = words(base, i + 8u * WIDTH);
        let d = words(base, i + 12u * WIDTH);
        let near = best_of(best_of_four(a, i), best_of_four(b, i + 4u * WIDTH));
        let far = best_of(best_of_four(c, i + 8u * WIDTH), best_of_four(d, i + 12u * WIDTH));
        mine = best_of(mine, best_of(near, far));
    }
    let first = place_of_best(lane, mine);
    if lane == 0u {
        index[p.to + row] = first;
    }
}
