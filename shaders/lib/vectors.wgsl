// The vectors of queries and keys that lie in rows of q, k and v, and sums over the TEAM invocations that own one. The kernel
// declares TEAM, a power of two, and in its parameters `tokens`, `offset`, `row`, `q_groups`, `k_groups`, `q_width` and
// `k_width`.
// Requires: p, TEAM
// Provides: WIDTH, Vector, vectors_find, vectors_sum

const WIDTH = 256u;

var<workgroup> vectors_parts: array<f32, WIDTH>;

struct Vector {
    inside: bool, // whether it is one; otherwise it is the last one again
    is_key: bool,
    first: u32,   // its first value
    width: u32,
}

// the vector of an invocation
fn vectors_find(group: u32, lane: u32) -> Vector {
    let groups = p.q_groups + p.k_groups;
    let all = p.tokens * groups;
    let i = group * (WIDTH / TEAM) + lane / TEAM;
    let token = min(i, all - 1u) / groups;
    let g = min(i, all - 1u) % groups;
    let is_key = g >= p.q_groups;
    let before = select(g * p.q_width, p.q_groups * p.q_width + (g - p.q_groups) * p.k_width, is_key);
    return Vector(i < all, is_key, (p.offset + token) * p.row + before, select(p.q_width, p.k_width, is_key));
}

// The sum of a team's values, for all of it; the whole workgroup must call it together.
fn vectors_sum(lane: u32, value: f32) -> f32 {
    workgroupBarrier(); // an earlier sum may still be being read
    vectors_parts[lane] = value;
    workgroupBarrier();
    for (var step = TEAM / 2u; step > 0u; step /= 2u) {
        if lane % TEAM < step {
            vectors_parts[lane] += vectors_parts[lane + step];
        }
        workgroupBarrier();
    }
    return vectors_parts[lane / TEAM * TEAM];
}
