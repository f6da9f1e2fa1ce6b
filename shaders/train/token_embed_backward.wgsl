// Computes: d_table[id] += sum of d_y over the rows whose token is id, in the order of the rows
// Inputs: d_y; the rows sorted by id, and runs (id, first, end) of equal ids
// Work split: one workgroup owns 256 columns of one id
// Shapes: d_y [rows, hidden] f32; order [rows] u32; runs [ids, 3] u32; d_table [vocab, hidden] f32

struct Params {
    runs: u32,
    hidden: u32,
    blocks: u32, // of 256 columns
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read> runs: array<u32>;
@group(0) @binding(4) var<storage, read_write> d_table: array<f32>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn token_embed_backward(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let run = group / p.blocks;
    let column = group % p.blocks * WIDTH + lane;
    if run >= p.runs || column >= p.hidden {
        return;
    }
    var sum = 0.0;
    for (var i = runs[3u * run + 1u]; i < runs[3u * run + 2u]; i++) {
        sum += d_y[order[i] * p.hidden + column];
    }
    d_table[runs[3u * run] * p.hidden + column] += sum;
}
