// Computes: index = the lowest i with x[i] = max x, of each row
// Inputs: x
// Work split: one workgroup owns one row
// Shapes: x [rows, n] f32 bits; index [offset + rows] u32

struct Params {
    rows: u32,
    n: u32,
    offset: u32, // where the first row's index goes
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

// the best so far or, if it is larger, element i, whose bits are `word`; for ascending i
fn larger(best: vec2<u32>, word: u32, i: u32) -> vec2<u32> {
    let key = key_of(word);
    return select(best, vec2(key, i), key > best.x);
}

// Four words, a workgroup's width apart. Beyond the row they are its last element again, under an index after its own.
fn words(base: u32, i: u32) -> vec4<u32> {
    let source = base + min(i + WIDTH * vec4(0u, 1u, 2u, 3u), vec4(p.n - 1u));
    return vec4(x[source.x], x[source.y], x[source.z], x[source.w]);
}

fn largest_of_four(best: vec2<u32>, word: vec4<u32>, i: u32) -> vec2<u32> {
    let near = larger(larger(best, word.x, i), word.y, i + WIDTH);
    return larger(larger(near, word.z, i + 2u * WIDTH), word.w, i + 3u * WIDTH);
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
    var mine = vec2(0u, lane); // where nothing is a number, the first element
    // Sixteen loads are requested at once: a lone workgroup has little else to hide their latency with.
    for (var i = lane; i < p.n; i += 16u * WIDTH) {
        let a = words(base, i);
        let b = words(base, i + 4u * WIDTH);
        let c = words(base, i + 8u * WIDTH);
        let d = words(base, i + 12u * WIDTH);
        mine = largest_of_four(mine, a, i);
        mine = largest_of_four(mine, b, i + 4u * WIDTH);
        mine = largest_of_four(mine, c, i + 8u * WIDTH);
        mine = largest_of_four(mine, d, i + 12u * WIDTH);
    }
    let first = best_index(lane, mine);
    if lane == 0u {
        index[p.offset + row] = first;
    }
}
