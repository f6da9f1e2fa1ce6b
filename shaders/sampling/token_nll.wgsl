// Computes: nll = log sum_j exp(x_j) - x_target of each row; 0 where the target is beyond the vocabulary
// Inputs: the target of each token; logits
// Work split: one workgroup owns one row, which it reads once; every lane has its largest logit and a sum relative to it
// Shapes: targets [first + rows] u32; x [rows, vocab] f32; nll [offset + rows] f32

struct Params {
    rows: u32,
    vocab: u32,
    first: u32, // index of row 0 in targets
    offset: u32, // index of row 0 in nll
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> nll: array<f32>;

const WIDTH = 256u;
const LOWEST = -3.4e38;

@compute @workgroup_size(WIDTH)
fn token_nll(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.rows {
        return;
    }
    let base = row * p.vocab;
    var top = LOWEST;
    var total = 0.0;
    for (var j = lane; j < p.vocab; j += WIDTH) {
        let logit = x[base + j];
        let above = max(top, logit);
        total = total * exp(top - above) + exp(logit - above);
        top = above;
    }
    let largest = reduce_max(lane, top);
    let sum = reduce_sum(lane, total * exp(top - largest));
    if lane == 0u {
        let id = targets[p.first + row];
        let chosen = x[base + min(id, p.vocab - 1u)];
        nll[p.offset + row] = select(0.0, log(sum) + (largest - chosen), id < p.vocab);
    }
}
