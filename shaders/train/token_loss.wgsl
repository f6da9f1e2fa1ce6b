// Computes: loss = log sum_j exp(x_j) - x_target; d_x = factor * (exp(x) / sum exp(x) - [j = target]); both 0 without a target
// Inputs: targets, of which those beyond the vocabulary are none; logits
// Work split: one workgroup owns one row
// Shapes: targets [first + rows] u32; x [rows, vocab] f32, becomes d_x in place; losses [first + rows] f32

struct Params {
    tokens: u32,
    vocab: u32,
    offset: u32, // index of row 0 in targets and losses
    factor: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;

const WIDTH = 256u;
const LOWEST = -3.4e38;

@compute @workgroup_size(WIDTH)
fn token_loss(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.tokens {
        return;
    }
    let base = row * p.vocab;
    let target_id = targets[p.offset + row];
    let counts = target_id < p.vocab;
    var top = LOWEST;
    for (var j = lane; j < p.vocab; j += WIDTH) {
        top = max(top, x[base + j]);
    }
    top = reduce_max(lane, top);
    var total = 0.0;
    for (var j = lane; j < p.vocab; j += WIDTH) {
        total += exp(x[base + j] - top);
    }
    total = reduce_sum(lane, total);
    if lane == 0u {
        let chosen = x[base + min(target_id, p.vocab - 1u)];
        losses[p.offset + row] = select(0.0, log(total) + (top - chosen), counts);
    }
    workgroupBarrier(); // the chosen one is read before it is overwritten
    storageBarrier();
    for (var j = lane; j < p.vocab; j += WIDTH) {
        let d = exp(x[base + j] - top) / total - select(0.0, 1.0, j == target_id);
        x[base + j] = select(0.0, p.factor * d, counts);
    }
}
