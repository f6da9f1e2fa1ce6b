// Computes: y[row, out_offset + o] (+)= scale * sum_k x[row, k] * w[o, k], factors in f16, sums in f32
// Inputs: x in f16; w in f16 or bf16
// Work split: one workgroup owns 128 rows by 128 outputs, each of its 16 subgroups 32 by 32 of them; where the last outputs are
//             half a tile, each owns 32 by 16 of these
// Shapes: x [rows, k], rows a multiple of 128; w [outs, k]; y [rows, y_stride] f32; k and outs multiples of 64
enable f16;
enable wgpu_int16;
enable wgpu_cooperative_matrix;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> w: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

override ELEM: u32 = 1u; // of w: 1 f16, 2 bf16

@compute @workgroup_size(WIDTH)
fn matmul_gemm_coop(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let tiles = vec2(p.tokens + TILE - 1u, p.outs + 64u) / TILE;
    if group >= tiles.x * tiles.y {
        return;
    }
    let tile = coop_tile_of(group, tiles.x, tiles.y) * TILE;
    let slim = tile.y + 64u == p.outs;
    let far = select(64u, 0u, slim) * (p.k / 8u); // what lies beyond the last output is not used
    // An invocation stages twice eight factors of each tile, from rows that are 64 apart.
    let row = index / 8u;
    let eight = index % 8u;
    let pitch = p.k / 8u;
    let x_at = (tile.x + row) * pitch + eight;
    let w_at = (tile.y + row) * pitch + eight;
    let mine = vec2(index / 32u / 4u, index / 32u % 4u) * vec2(32u, select(32u, 16u, slim));
    let to = tile + mine + vec2(0u, p.out_offset);
    var c00: coop_mat16x16<f32, C>;
    var c01: coop_mat16x16<f32, C>;
    var c10: coop_mat16x16<f32, C>;
    var c11: coop_mat16x16<f32, C>;
    var x0 = x[x_at];
    var x1 = x[x_at + 64u * pitch];
    var w0 = w[w_at];
    var w1 = w[w_at + far];
    for (var at = 0u; at < pitch; at += 8u) {
        workgroupBarrier();
        coop_put_x(row, eight, x0);
        coop_put_x(row + 64u, eight, x1);
        coop_put_w(row, eight, w0);
        coop_put_w(row + 64u, eight, w1);
        // What comes next travels while this is multiplied; where it lies is computed before the barrier.
        let next = vec2(x_at, w_at) + min(at + 8u, pitch - 8u);
        workgroupBarrier();
        x0 = x[next.x];
        x1 = x[next.x + 64u * pitch];
        w0 = w[next.y];
        w1 = w[next.y + far];
        for (var k = 0u; k < 16u; k += 4u) {
            let a0 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[mine.x * PITCH + k], PITCH);
            let a1 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[(mine.x + 16u) * PITCH + k], PITCH);
            let b0 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[mine.y * PITCH + k], PITCH);
            let b1 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[(mine.y + 16u) * PITCH + k], PITCH);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
        }
    }
    coop_put_sums(c00, to.x, to.y);
    coop_put_sums(c10, to.x + 16u, to.y);
    if !slim {
        coop_put_sums(c01, to.x, to.y + 16u);
        coop_put_sums(c11, to.x + 16u, to.y + 16u);
    }
}
