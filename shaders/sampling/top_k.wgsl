// Computes: the k best elements of each row of x, best first, the lower index first among equals
// Inputs: x
// Work split: one workgroup owns one row; it selects (key, ~index) by radix from the top byte down, then sorts by rank
// Shapes: x [rows, n] f32 bits; indices [rows, k] u32; values [rows, k] f32 bits; k <= WIDTH

struct Params {
    rows: u32,
    n: u32,
    k: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> indices: array<u32>;
@group(0) @binding(3) var<storage, read_write> values: array<u32>;

const WIDTH = 256u;

// Elements that begin with the bytes chosen so far are candidates; those above them are selected.
struct Choice {
    prefix: vec2<u32>, // key, ~index
    mask: vec2<u32>,   // the bits of it that are chosen
    need: u32,         // how many candidates are selected
    open: u32,         // 1 while there are more candidates than that
}

var<workgroup> histogram: array<atomic<u32>, WIDTH>;
var<workgroup> choice: Choice;
var<workgroup> taken: atomic<u32>;
var<workgroup> best: array<vec2<u32>, WIDTH>;

fn above(a: vec2<u32>, b: vec2<u32>) -> bool {
    return (a.x > b.x) | ((a.x == b.x) & (a.y > b.y));
}

// An element as a pair that no other element has, so that exactly k are selected whatever repeats.
fn element(word: u32, i: u32) -> vec2<u32> {
    return vec2(key_of(word), ~i);
}

// Four words, a workgroup's width apart. They are loaded together, because latency is what a lone workgroup waits for.
fn words(base: u32, i: u32) -> vec4<u32> {
    let source = base + min(i + WIDTH * vec4(0u, 1u, 2u, 3u), vec4(p.n - 1u));
    return vec4(x[source.x], x[source.y], x[source.z], x[source.w]);
}

fn byte_of(e: vec2<u32>, level: u32) -> u32 {
    return (select(e.x, e.y, level >= 4u) >> (24u - 8u * (level % 4u))) & 0xffu;
}

fn tally(word: u32, i: u32, level: u32, now: Choice) {
    let e = element(word, i);
    if i < p.n && all((e & now.mask) == now.prefix) {
        atomicAdd(&histogram[byte_of(e, level)], 1u);
    }
}

// selects an element that is not below the chosen prefix
fn take(word: u32, i: u32, now: Choice) {
    let e = element(word, i);
    if i < p.n && !above(now.prefix, e & now.mask) {
        best[atomicAdd(&taken, 1u)] = e;
    }
}

// Chooses one more byte of the prefix: the one at which the running count from the top reaches what is needed.
fn narrow(base: u32, lane: u32, level: u32, now: Choice) {
    atomicStore(&histogram[lane], 0u);
    workgroupBarrier();
    for (var i = lane; i < p.n; i += 8u * WIDTH) {
        let near = words(base, i);
        let far = words(base, i + 4u * WIDTH);
        for (var j = 0u; j < 4u; j++) {
            tally(near[j], i + j * WIDTH, level, now);
            tally(far[j], i + (j + 4u) * WIDTH, level, now);
        }
    }
    workgroupBarrier();
    var higher = 0u;
    for (var b = lane + 1u; b < WIDTH; b++) {
        higher += atomicLoad(&histogram[b]);
    }
    let here = atomicLoad(&histogram[lane]);
    if higher < now.need && now.need <= higher + here {
        let shift = 24u - 8u * (level % 4u);
        let half = select(vec2(1u, 0u), vec2(0u, 1u), level >= 4u);
        choice.prefix = now.prefix | (half * (lane << shift));
        choice.mask = now.mask | (half * (0xffu << shift));
        choice.need = now.need - higher;
        choice.open = select(0u, 1u, here > now.need - higher);
    }
}

@compute @workgroup_size(WIDTH)
fn top_k(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.rows {
        return;
    }
    let base = row * p.n;
    if lane == 0u {
        choice = Choice(vec2(0u), vec2(0u), p.k, 1u);
        atomicStore(&taken, 0u);
    }
    var now = workgroupUniformLoad(&choice);
    for (var level = 0u; level < 8u && now.open == 1u; level++) {
        narrow(base, lane, level, now);
        now = workgroupUniformLoad(&choice);
    }
    for (var i = lane; i < p.n; i += 8u * WIDTH) {
        let near = words(base, i);
        let far = words(base, i + 4u * WIDTH);
        for (var j = 0u; j < 4u; j++) {
            take(near[j], i + j * WIDTH, now);
            take(far[j], i + (j + 4u) * WIDTH, now);
        }
    }
    workgroupBarrier();
    if lane < p.k {
        let mine = best[lane];
        var rank = 0u;
        for (var i = 0u; i < p.k; i++) {
            rank += select(0u, 1u, above(best[i], mine));
        }
        indices[row * p.k + rank] = ~mine.y;
        values[row * p.k + rank] = x[base + ~mine.y];
    }
}
