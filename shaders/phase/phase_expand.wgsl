// Computes: r = LIFT * (R11 R12; R21 R22), the real blocks of U and W or of W alone, in f16: what a dense product reads
// Inputs: codes and scales of a layer of a stack
// Work split: one workgroup owns 8 complex rows of the layer, 32 invocations one of them, four columns each at a time
// Shapes: codes [shard_rows, words] of PLANES words; scale_blocks [scale_blocks, 1 + groups * PLANES * 2];
//         r [first_out + 2 * rows, 2 * words * 16] f16: upper blocks, then lower ones, or runs of them in turns
enable f16;

struct Params {
    first: u32,   // complex row of the layer in the stack
    rows: u32,    // complex rows of the layer
    words: u32,   // of a row of codes
    per_row: u32, // a scale block for each row (1) or for each layer (0)
    layer: u32,   // of the stack
    run: u32,     // complex rows whose upper blocks lie together
    group_words: u32, // words of a row that share scales
    groups: u32,  // of a row
    first_out: u32, // row of r where the layer begins
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<Codes>;
@group(0) @binding(2) var<storage, read> scale_blocks: array<u32>;
@group(0) @binding(3) var<storage, read_write> r: array<vec4<f16>>;

override PLANES: u32;
override U_PLANES: u32; // how many of the planes, the first ones, are those of U
override LEVELS: u32; // what the scales were divided by; 0: they are f32
override SUMMED: bool = false; // weights are sums over planes; otherwise they come from tables

const WIDTH = 256u;
const ROWS = 8u;
const TABLE_ENTRIES = 256u;

fn scale_block_of(row: u32) -> u32 {
    // Rows of a workgroup beyond the layer have no scales.
    return select(p.layer, min(row, p.first + p.rows - 1u), p.per_row == 1u);
}

// Columns 4 * four to 4 * four + 3 of a code word of the workgroup's row `own`.
fn block_at(code: u32, own: u32, scale_block: u32, group: u32, four: u32) -> Block {
    if SUMMED {
        return real_sum_block(codes[code], scale_block, group, four);
    }
    return real_block(codes[code], own, four);
}

@compute @workgroup_size(WIDTH)
fn phase_expand(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let first = (wg.x + wg.y * nwg.x) * ROWS;
    if first >= p.rows {
        return;
    }
    if !SUMMED {
        real_make_tables(index, p.first + first);
        workgroupBarrier();
    }
    let own = index / 32u;
    let row = first + own;
    let half = p.words * 4u; // vec4s of half a row
    if row >= p.rows {
        return;
    }
    let scale_block = scale_block_of(p.first + row) * (1u + p.groups * PLANES * 2u);
    for (var four = index % 32u; four < half; four += 32u) {
        let word = four / 4u;
        let block = block_at((p.first + row) * p.words + word, own, scale_block, word / p.group_words, four % 4u);
        let upper = (p.first_out + row + row / p.run * p.run) * 2u * half + four;
        let lower = upper + p.run * 2u * half;
        r[upper] = block.r11;
        r[upper + half] = block.r12;
        r[lower] = block.r21;
        r[lower + half] = block.r22;
    }
}
