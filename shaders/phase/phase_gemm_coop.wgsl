// Computes: y = R x for many tokens in f16, R the real blocks (R11 R12; R21 R22) of U and W or W alone, with sums in f32
// Inputs: codes and scales of a stack of layers, of which weights are made by two look-ups each; tokens in f16
// Work split: one workgroup owns 128 tokens by 64 complex rows
// Shapes: codes [shard_rows, words] of PLANES words; x [tokens, in] f16; scale_blocks [scale_blocks, 1 + PLANES * 2];
//         y [tokens, outputs]; tokens a multiple of 128
enable f16;
enable wgpu_int16;
enable wgpu_cooperative_matrix;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> codes: array<Codes>;
@group(0) @binding(2) var<storage, read_write> x: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> scale_blocks: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

override PLANES: u32;
override U_PLANES: u32; // how many of the planes, the first ones, are those of U
override LEVELS: u32; // what the scales were divided by; 0: they are f32

const TABLE_ENTRIES = 2048u; // 64 rows have tables

fn scale_block_of(row: u32) -> u32 {
    return stack_place(p, row).x;
}

// Puts four columns of a complex row; a step is two words, and each has four times four columns.
fn put_weights(index: u32, c: Codes) {
    let row = index / 8u;
    let column = index % 8u;
    let block = real_block(c, row, column % 4u);
    let at = row * PITCH + column;
    tile_b[at] = block.r11;
    tile_b[at + 8u] = block.r12;
    tile_b[at + 64u * PITCH] = block.r21;
    tile_b[at + 64u * PITCH + 8u] = block.r22;
}

// The index of eight factors of a token: of the eight times eight in a tile, four times eight are real, the others imaginary.
fn eight_at(token: u32, step: u32, eight: u32) -> u32 {
    let half = p.in_features / 16u;
    return token * 2u * half + eight / 4u * half + step * 4u + eight % 4u;
}

fn put_token(token: u32, eight: u32, v: vec4<u32>) {
    tile_a[token * PITCH + 2u * eight] = quad(v.x, v.y);
    tile_a[token * PITCH + 2u * eight + 1u] = quad(v.z, v.w);
}

fn put_sums(sums: coop_mat16x16<f32, C>, token: u32, column: u32) {
    let at = token * p.outputs + column;
    let stride = p.outputs;
    var result = sums * (1.0 / LIFT);
    if p.accumulate == 1u {
        let before = coopLoadT<coop_mat16x16<f32, C>>(&y[at], stride);
        result = result + before;
    }
    let sum = result;
    coopStoreT(sum, &y[at], stride);
}

@compute @workgroup_size(WIDTH)
fn phase_gemm_coop(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let row_tiles = (p.tokens + TILE - 1u) / TILE;
    if group >= row_tiles * (p.shard_rows / 64u) {
        return;
    }
    let tile = coop_tile_of(group, row_tiles, p.shard_rows / 64u);
    let token = tile.x * TILE;
    let row = tile.y * 64u;
    let code = (row + index / 8u) * p.words + index % 8u / 4u;
    let mine = vec2(index / 32u / 4u, index / 32u % 4u) * 32u * PITCH;
    real_make_tables(index, p.first_row + row);
    var c00: coop_mat16x16<f32, C>;
    var c01: coop_mat16x16<f32, C>;
    var c10: coop_mat16x16<f32, C>;
    var c11: coop_mat16x16<f32, C>;
    var first = x[eight_at(token + index / 8u, 0u, index % 8u)];
    var second = x[eight_at(token + 64u + index / 8u, 0u, index % 8u)];
    var weights = codes[code];
    for (var step = 0u; step < p.words / 2u; step++) {
        workgroupBarrier();
        put_token(index / 8u, index % 8u, first);
        put_token(64u + index / 8u, index % 8u, second);
        put_weights(index, weights);
        // What comes next travels while this is multiplied; where it lies is computed before the barrier.
        let next = min(step + 1u, p.words / 2u - 1u);
        let next_first = eight_at(token + index / 8u, next, index % 8u);
        let next_second = eight_at(token + 64u + index / 8u, next, index % 8u);
        let next_code = code + 2u * next;
        workgroupBarrier();
        first = x[next_first];
        second = x[next_second];
        weights = codes[next_code];
        for (var k = 0u; k < 16u; k += 4u) {
            let a0 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[mine.x + k], PITCH);
            let a1 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[mine.x + 16u * PITCH + k], PITCH);
            let b0 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[mine.y + k], PITCH);
            let b1 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[mine.y + 16u * PITCH + k], PITCH);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
        }
    }
    // The columns of the tile are the real halves of 64 rows, then their imaginary halves. Those of 16 rows lie together.
    let own = index / 32u % 4u * 32u;
    let at = stack_place(p, p.first_row + row + own % 64u);
    let after = stack_place(p, p.first_row + row + own % 64u + 16u);
    let columns = select(vec2(at.y, after.y), vec2(at.z, after.z), own >= 64u);
    let rows = token + index / 128u * 32u;
    put_sums(c00, rows, columns.x);
    put_sums(c01, rows, columns.y);
    put_sums(c10, rows + 16u, columns.x);
    put_sums(c11, rows + 16u, columns.y);
}
