// Computes: c[i, j] (+)= factor * sum_k a[i, k] * b[j, k], each matrix as it lies or transposed: y = x W^T, dx = dy W and
//           dW = dy^T x alike
// Inputs: matrices
// Work split: one workgroup owns 64 x 64 of c, one invocation 8 x 8 of them, as four 4 x 4 blocks
// Shapes: a [m, k] or, transposed, [k, m]; b [n, k] or, transposed, [k, n]; c [m, n]: f32

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

override A_TRANSPOSED: bool = false;
override B_TRANSPOSED: bool = false;
override ACCUMULATE: bool = false;

const WIDTH = 64u;
const TILE = 64u;
const DEPTH = 16u;          // values of k per step
const QUADS = TILE / 4u;
const PITCH = QUADS + 1u;   // keeps writes along k out of each other's memory banks
const BLOCK = 128u;         // of what lies above the diagonal

// [DEPTH, QUADS]: for each k the rows of the tile, four together
var<workgroup> rows_a: array<vec4<f32>, DEPTH * PITCH>;
var<workgroup> rows_b: array<vec4<f32>, DEPTH * PITCH>;

fn a_at(base: u32, row: u32, k: u32) -> f32 {
    let at = base + select(row * p.a_stride + k, k * p.a_stride + row, A_TRANSPOSED);
    let inside = row < p.m && k < p.k;
    return select(0.0, a[select(0u, at, inside)], inside);
}

fn b_at(base: u32, row: u32, k: u32) -> f32 {
    let at = base + select(row * p.b_stride + k, k * p.b_stride + row, B_TRANSPOSED);
    let inside = row < p.n && k < p.k;
    return select(0.0, b[select(0u, at, inside)], inside);
}

// (k, quad) of the i-th load of an invocation: neighbours read neighbours
fn place(lane: u32, i: u32, transposed: bool) -> vec2<u32> {
    let across = vec2(lane % DEPTH, lane / DEPTH + i * (WIDTH / DEPTH));
    return select(across, vec2(lane / QUADS + i * (WIDTH / QUADS), lane % QUADS), transposed);
}

fn load(lane: u32, base: vec2<u32>, tile: vec2<u32>, k: u32) {
    for (var i = 0u; i < 4u; i++) {
        let to = place(lane, i, A_TRANSPOSED);
        let r = tile.x + 4u * to.y;
        let at = k + to.x;
        rows_a[to.x * PITCH + to.y] = vec4(
            a_at(base.x, r, at), a_at(base.x, r + 1u, at), a_at(base.x, r + 2u, at), a_at(base.x, r + 3u, at));
    }
    for (var i = 0u; i < 4u; i++) {
        let to = place(lane, i, B_TRANSPOSED);
        let r = tile.y + 4u * to.y;
        let at = k + to.x;
        rows_b[to.x * PITCH + to.y] = vec4(
            b_at(base.y, r, at), b_at(base.y, r + 1u, at), b_at(base.y, r + 2u, at), b_at(base.y, r + 3u, at));
    }
}

fn store(at: u32, row: u32, column: u32, v: vec4<f32>) {
    if row >= p.m {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        if column + i < p.n {
            c[at + i] = select(0.0, c[at + i], ACCUMULATE) + p.factor * v[i];
        }
    }
}

fn store_block(base: u32, row: u32, column: u32, block: mat4x4<f32>) {
    let at = base + row * p.c_stride + column;
    store(at, row, column, block[0]);
    store(at + p.c_stride, row + 1u, column, block[1]);
    store(at + 2u * p.c_stride, row + 2u, column, block[2]);
    store(at + 3u * p.c_stride, row + 3u, column, block[3]);
}

@compute @workgroup_size(WIDTH)
fn matmul_train(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let across = (p.m + TILE - 1u) / TILE;
    let group = wg.x + wg.y * nwg.x;
    let tile = vec2(group % across, group / across) * TILE;
    if tile.y >= p.n || (p.lower == 1u && tile.y / BLOCK > tile.x / BLOCK) {
        return;
    }
    let base = vec2(p.a_offset, p.b_offset);
    let r = lane / 8u;
    let o = lane % 8u;
    var sums = array<mat4x4<f32>, 4>();
    for (var k = 0u; k < p.k; k += DEPTH) {
        load(lane, base, tile, k);
        workgroupBarrier();
        for (var i = 0u; i < DEPTH; i++) {
            let at = i * PITCH;
            let a0 = rows_a[at + r];
            let a1 = rows_a[at + r + 8u];
            let b0 = rows_b[at + o];
            let b1 = rows_b[at + o + 8u];
            sums[0] += outer(a0, b0);
            sums[1] += outer(a0, b1);
            sums[2] += outer(a1, b0);
            sums[3] += outer(a1, b1);
        }
        workgroupBarrier();
    }
    let to = p.c_offset;
    store_block(to, tile.x + 4u * r, tile.y + 4u * o, sums[0]);
    store_block(to, tile.x + 4u * r, tile.y + 32u + 4u * o, sums[1]);
    store_block(to, tile.x + 32u + 4u * r, tile.y + 4u * o, sums[2]);
    store_block(to, tile.x + 32u + 4u * r, tile.y + 32u + 4u * o, sums[3]);
}
