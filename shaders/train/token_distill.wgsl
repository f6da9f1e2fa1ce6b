// Computes: loss = (1 - share) * CE(target) + share * KL(softmax(teacher) || softmax(x)) and
//           d_x = factor * (softmax(x) - share * softmax(teacher) - (1 - share) * [j = target]); both 0 without a target
// Inputs: targets, of which those beyond the vocabulary are none; logits of the teacher and of the student
// Work split: one workgroup owns one row
// Shapes: targets [first + rows] u32; teacher [rows, vocab] f32; x [rows, vocab] f32, becomes d_x in place;
//         losses [first + rows] f32

struct Params {
    tokens: u32,
    vocab: u32,
    offset: u32, // index of row 0 in targets and losses
    factor: f32,
    share: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read> teacher: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> losses: array<f32>;

const WIDTH = 256u;
const LOWEST = -3.4e38;

@compute @workgroup_size(WIDTH)
fn token_distill(
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
    var top = vec2(LOWEST); // of the student and the teacher
    for (var j = lane; j < p.vocab; j += WIDTH) {
        top = max(top, vec2(x[base + j], teacher[base + j]));
    }
    top = vec2(reduce_max(lane, top.x), reduce_max(lane, top.y));
    var total = vec2(0.0);
    var apart = 0.0;
    for (var j = lane; j < p.vocab; j += WIDTH) {
        let below = vec2(x[base + j], teacher[base + j]) - top;
        let e = exp(below);
        total += e;
        apart += e.y * (below.y - below.x);
    }
    total = vec2(reduce_sum(lane, total.x), reduce_sum(lane, total.y));
    apart = reduce_sum(lane, apart);
    if lane == 0u {
        let chosen = x[base + min(target_id, p.vocab - 1u)];
        let entropy = log(total.x) + (top.x - chosen);
        let divergence = apart / total.y + log(total.x) - log(total.y);
        losses[p.offset + row] = select(0.0, mix(entropy, divergence, p.share), counts);
    }
    workgroupBarrier(); // the chosen one is read before it is overwritten
    storageBarrier();
    for (var j = lane; j < p.vocab; j += WIDTH) {
        let e = exp(vec2(x[base + j], teacher[base + j]) - top) / total;
        let d = e.x - p.share * e.y - select(0.0, 1.0 - p.share, j == target_id);
        x[base + j] = select(0.0, p.factor * d, counts);
    }
}
