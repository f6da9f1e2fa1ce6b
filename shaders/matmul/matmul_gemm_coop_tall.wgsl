// Computes: y[row, out_offset + o] (+)= scale * sum_k x[row, k] * w[o, k], factors in f16, sums in f32, for many rows
// Inputs: x in f16; w in f16 or bf16
// Work split: one workgroup owns 128 rows by 128 outputs, each of its 4 subgroups 64 by 64: it is small enough for two
//             workgroups to take turns on a processor
// Shapes: x [rows, k], rows a multiple of 128; w [outs, k]; y [rows, y_stride] f32; k a multiple of 32, outs of 128
enable f16;
enable wgpu_int16;
enable wgpu_cooperative_matrix;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> w: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

override ELEM: u32 = 1u; // of w: 1 f16, 2 bf16

const WIDTH = 128u;
const TILE = 128u;
const PITCH = 10u; // vec4s from row to row: 32 halves and 8 more

var<workgroup> tile_a: array<vec4<f16>, 1280>;
var<workgroup> tile_b: array<vec4<f16>, 1280>;

alias Sums = array<coop_mat16x16<f32, C>, 16>;

// 16 steps along k: the subgroup's rows and columns begin at `a` and `b`. Written out, since sums that are indexed
// by a variable live in memory.
fn multiply(c: ptr<function, Sums>, a: u32, b: u32) {
    let a0 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[a], PITCH);
    let a1 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[a + 160u], PITCH);
    let a2 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[a + 320u], PITCH);
    let a3 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[a + 480u], PITCH);
    let b0 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[b], PITCH);
    let b1 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[b + 160u], PITCH);
    let b2 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[b + 320u], PITCH);
    let b3 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[b + 480u], PITCH);
    (*c)[0] = coopMultiplyAdd(a0, b0, (*c)[0]);
    (*c)[4] = coopMultiplyAdd(a1, b0, (*c)[4]);
    (*c)[8] = coopMultiplyAdd(a2, b0, (*c)[8]);
    (*c)[12] = coopMultiplyAdd(a3, b0, (*c)[12]);
    (*c)[1] = coopMultiplyAdd(a0, b1, (*c)[1]);
    (*c)[5] = coopMultiplyAdd(a1, b1, (*c)[5]);
    (*c)[9] = coopMultiplyAdd(a2, b1, (*c)[9]);
    (*c)[13] = coopMultiplyAdd(a3, b1, (*c)[13]);
    (*c)[2] = coopMultiplyAdd(a0, b2, (*c)[2]);
    (*c)[6] = coopMultiplyAdd(a1, b2, (*c)[6]);
    (*c)[10] = coopMultiplyAdd(a2, b2, (*c)[10]);
    (*c)[14] = coopMultiplyAdd(a3, b2, (*c)[14]);
    (*c)[3] = coopMultiplyAdd(a0, b3, (*c)[3]);
    (*c)[7] = coopMultiplyAdd(a1, b3, (*c)[7]);
    (*c)[11] = coopMultiplyAdd(a2, b3, (*c)[11]);
    (*c)[15] = coopMultiplyAdd(a3, b3, (*c)[15]);
}

@compute @workgroup_size(WIDTH)
fn matmul_gemm_coop_tall(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let row_tiles = (p.tokens + TILE - 1u) / TILE;
    if group >= row_tiles * (p.outs / TILE) {
        return;
    }
    let tile = coop_tile_of(group, row_tiles, p.outs / TILE) * TILE;
    // An invocation stages four times eight factors of each tile, from rows that are 32 apart.
    let row = index / 4u;
    let eight = index % 4u;
    let pitch = p.k / 8u;
    let far = 32u * pitch;
    let x_at = (tile.x + row) * pitch + eight;
    let w_at = (tile.y + row) * pitch + eight;
    let mine = vec2(index / 64u, index / 32u % 2u) * 64u;
    let at = mine * PITCH;
    var c: Sums;
    var xs = array(x[x_at], x[x_at + far], x[x_at + 2u * far], x[x_at + 3u * far]);
    var ws = array(w[w_at], w[w_at + far], w[w_at + 2u * far], w[w_at + 3u * far]);
    for (var step = 0u; step < pitch; step += 4u) {
        workgroupBarrier();
        coop_put_x(row, eight, xs[0]);
        coop_put_x(row + 32u, eight, xs[1]);
        coop_put_x(row + 64u, eight, xs[2]);
        coop_put_x(row + 96u, eight, xs[3]);
        coop_put_w(row, eight, ws[0]);
        coop_put_w(row + 32u, eight, ws[1]);
        coop_put_w(row + 64u, eight, ws[2]);
        coop_put_w(row + 96u, eight, ws[3]);
        // What comes next travels while this is multiplied; where it lies is computed before the barrier.
        let next = min(step + 4u, pitch - 4u);
        let x_next = x_at + next;
        let w_next = w_at + next;
        workgroupBarrier();
        xs = array(x[x_next], x[x_next + far], x[x_next + 2u * far], x[x_next + 3u * far]);
        ws = array(w[w_next], w[w_next + far], w[w_next + 2u * far], w[w_next + 3u * far]);
        multiply(&c, at.x, at.y);
        multiply(&c, at.x + 4u, at.y + 4u);
    }
    put_all(&c, tile.x + mine.x, tile.y + mine.y + p.out_offset);
}

fn put_all(c: ptr<function, Sums>, row: u32, column: u32) {
    coop_put_sums((*c)[0], row, column);
    coop_put_sums((*c)[1], row, column + 16u);
    coop_put_sums((*c)[2], row, column + 32u);
    coop_put_sums((*c)[3], row, column + 48u);
    coop_put_sums((*c)[4], row + 16u, column);
    coop_put_sums((*c)[5], row + 16u, column + 16u);
    coop_put_sums((*c)[6], row + 16u, column + 32u);
    coop_put_sums((*c)[7], row + 16u, column + 48u);
    coop_put_sums((*c)[8], row + 32u, column);
    coop_put_sums((*c)[9], row + 32u, column + 16u);
    coop_put_sums((*c)[10], row + 32u, column + 32u);
    coop_put_sums((*c)[11], row + 32u, column + 48u);
    coop_put_sums((*c)[12], row + 48u, column);
    coop_put_sums((*c)[13], row + 48u, column + 16u);
    coop_put_sums((*c)[14], row + 48u, column + 32u);
    coop_put_sums((*c)[15], row + 48u, column + 48u);
}
