// Computes: y = U x + W conj(x) for many tokens in f32, U and W sums of stages; without U in the conjugate form
// Inputs: codes and scales of a stack of layers; tokens in f32
// Work split: one workgroup owns 32 complex rows x 64 tokens; an invocation 8 tokens x 4 rows, real and imaginary, as four
//             4 x 4 blocks
// Shapes: codes [shard_rows, words, PLANES]; x [rows, in_features]; scale_blocks [scale_blocks, 1 + groups * PLANES * 2]; y [rows, outputs]

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> scale_blocks: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

override PLANES: u32;   // in all stages
override U_PLANES: u32; // how many of them, the first ones, are those of U

const WIDTH = 64u;
const ROWS = 32u;
const TOKENS = 64u;
const COLUMNS = 8u; // complex columns per step, half a word
const PITCH = 17u;  // 16 quads; one more keeps writes out of each other's memory banks

// [2 COLUMNS]: real, then imaginary factors of the step
var<workgroup> xs: array<vec4<f32>, 272>; // of 16 quads of tokens
var<workgroup> ws: array<vec4<f32>, 272>; // of 8 quads of rows for their real parts, then for their imaginary parts

fn load_x(index: u32, first_token: u32, column: u32) {
    let k = index % (2u * COLUMNS);
    let part = k / COLUMNS;
    let c = column + k % COLUMNS;
    for (var quad = index / (2u * COLUMNS); quad < TOKENS / 4u; quad += WIDTH / (2u * COLUMNS)) {
        let t = first_token + 4u * quad;
        xs[k * PITCH + quad] = vec4(
            halves_value(t, part, c),
            halves_value(t + 1u, part, c),
            halves_value(t + 2u, part, c),
            halves_value(t + 3u, part, c),
        );
    }
}

// The code of a column of plane t; `at` is where the codes of the word begin. Where planes come by fours, a byte has all
// codes of a column.
fn code_of(at: u32, t: u32, column: u32) -> u32 {
    if PLANES % 4u == 0u {
        return phase_code_at(codes[at + t / 4u * 4u + column / 4u % 4u], 4u * (t % 4u) + column % 4u);
    }
    return phase_code_at(codes[at + t], column);
}

// The real 2 x 2 block (R11, R12, R21, R22) of a row and a column.
fn block_at(row: u32, column: u32) -> vec4<f32> {
    if row >= p.shard_rows {
        return vec4(0.0);
    }
    let word = column / 16u;
    let scale_block = stack_place(p, p.first_row + row).x * (1u + p.groups * PLANES * 2u);
    let scales = scale_block + 1u + word / p.group_words * PLANES * 2u;
    let at = (row * p.words + word) * PLANES;
    var u = vec2(0.0);
    var w = vec2(0.0);
    for (var t = 0u; t < U_PLANES; t++) {
        let s = scales + 2u * t;
        u += phase_value(code_of(at, t, column), vec2(scale_blocks[s], scale_blocks[s + 1u]));
    }
    for (var t = U_PLANES; t < PLANES; t++) {
        let s = scales + 2u * t;
        w += phase_value(code_of(at, t, column), vec2(scale_blocks[s], scale_blocks[s + 1u]));
    }
    return vec4(u.x + w.x, w.y - u.y, u.y + w.y, u.x - w.x);
}

// Stages one column of four rows.
fn load_w(index: u32, first_row: u32, column: u32) {
    let quad = index % COLUMNS;
    let k = index / COLUMNS;
    let row = first_row + 4u * quad;
    let c = column + k;
    let swapped = transpose(mat4x4(block_at(row, c), block_at(row + 1u, c), block_at(row + 2u, c), block_at(row + 3u, c)));
    let at = k * PITCH + quad;
    ws[at] = swapped[0];
    ws[at + COLUMNS * PITCH] = swapped[1];
    ws[at + COLUMNS] = swapped[2];
    ws[at + COLUMNS * PITCH + COLUMNS] = swapped[3];
}

// Writes four tokens of four rows.
fn store_block(token: u32, row: u32, imaginary: bool, block: mat4x4<f32>) {
    var tokens = block; // a value that is indexed must be a variable
    for (var r = 0u; r < 4u; r++) {
        if row + r >= p.shard_rows {
            return;
        }
        let at = stack_place(p, p.first_row + row + r);
        let to = select(at.y, at.z, imaginary);
        for (var t = 0u; t < 4u; t++) {
            let i = (token + t) * p.outputs + to;
            if to != NOWHERE && token + t < p.tokens {
                y[i] = select(0.0, y[i], p.accumulate == 1u) + tokens[t][r];
            }
        }
    }
}

@compute @workgroup_size(WIDTH)
fn phase_gemm_float(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let across = (p.tokens + TOKENS - 1u) / TOKENS;
    let group = wg.x + wg.y * nwg.x;
    // Neighbouring workgroups share their codes.
    let token = group % across * TOKENS;
    let row = group / across * ROWS;
    if row >= p.shard_rows {
        return;
    }
    let t = index / COLUMNS;
    let r = index % COLUMNS;
    var sums = array<mat4x4<f32>, 4>();
    for (var column = 0u; column < 16u * p.words; column += COLUMNS) {
        load_x(index, token, column);
        load_w(index, row, column);
        workgroupBarrier();
        // A step has sums of its own, because one long sum would lose bits.
        var step = array<mat4x4<f32>, 4>();
        for (var k = 0u; k < 2u * COLUMNS; k++) {
            let x0 = xs[k * PITCH + t];
            let x1 = xs[k * PITCH + t + 8u];
            let re = ws[k * PITCH + r];
            let im = ws[k * PITCH + r + COLUMNS];
            step[0] += outer(x0, re);
            step[1] += outer(x0, im);
            step[2] += outer(x1, re);
            step[3] += outer(x1, im);
        }
        sums[0] += step[0];
        sums[1] += step[1];
        sums[2] += step[2];
        sums[3] += step[3];
        workgroupBarrier();
    }
    store_block(token + 4u * t, row + 4u * r, false, sums[0]);
    store_block(token + 4u * t, row + 4u * r, true, sums[1]);
    store_block(token + 32u + 4u * t, row + 4u * r, false, sums[2]);
    store_block(token + 32u + 4u * t, row + 4u * r, true, sums[3]);
}
