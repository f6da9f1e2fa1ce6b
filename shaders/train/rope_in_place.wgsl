// Computes: (a, b) = (a cos -+ b sin, b cos +- a sin) for the pairs of the first `width` values of the first `rotated` heads
//           of a row
// Inputs: x, whose row i is at position i % length; the table of cos and sin
// Work split: one invocation owns one pair
// Shapes: x [rows, heads, head_dim] f32, in place; table [length, width / 2, 2] f32

struct Params {
    tokens: u32,
    heads: u32,
    rotated: u32,
    head_dim: u32,
    width: u32,
    length: u32,
    sign: f32, // -1 turns back, which is the gradient
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

override NEIGHBOURS: bool; // pairs are values 2 j and 2 j + 1, not j and j + width / 2

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn rope_in_place(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let half = p.width / 2u;
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= p.tokens * p.rotated * half {
        return;
    }
    let j = i % half;
    let head = i / half % p.rotated;
    let row = i / half / p.rotated;
    let at = (row * p.heads + head) * p.head_dim + select(j, 2u * j, NEIGHBOURS);
    let other = at + select(half, 1u, NEIGHBOURS);
    let angle = 2u * (row % p.length * half + j);
    let cos = table[angle];
    let sin = p.sign * table[angle + 1u];
    let a = x[at];
    let b = x[other];
    x[at] = a * cos - b * sin;
    x[other] = b * cos + a * sin;
}
