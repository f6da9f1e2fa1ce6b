// Computes: d_q_weight[j] += sum over tokens and vectors of queries of x[j], and d_k_weight likewise
// Inputs: rows whose queries and keys are what rms_norm_heads_backward left of them
// Work split: one workgroup owns 16 columns of the vectors of queries or of keys, an invocation every 16th vector
// Shapes: x [.., row] f32, rows of q_groups vectors [q_width], then k_groups vectors [k_width]; d_q_weight [q_width],
//         d_k_weight [k_width] f32

struct Params {
    tokens: u32,
    offset: u32,   // row of x that holds token 0
    row: u32,      // values of a row
    q_groups: u32, // vectors of queries in a row
    k_groups: u32,
    q_width: u32,  // values of a vector
    k_width: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_q_weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_k_weight: array<f32>;

const WIDTH = 256u;
const COLUMNS = 16u;
const SLICES = WIDTH / COLUMNS;

var<workgroup> parts: array<f32, WIDTH>;

// value `first` of vector `i`, counted over all tokens, of `groups` vectors of `width` values
fn term(i: u32, groups: u32, width: u32, first: u32) -> f32 {
    let last = p.tokens * groups - 1u;
    let j = min(i, last);
    let at = (p.offset + j / groups) * p.row + j % groups * width + first;
    return select(0.0, x[at], i <= last);
}

@compute @workgroup_size(WIDTH)
fn rms_norm_heads_weight_backward(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let q_pieces = (p.q_width + COLUMNS - 1u) / COLUMNS;
    let is_key = group >= q_pieces;
    let width = select(p.q_width, p.k_width, is_key);
    let groups = select(p.q_groups, p.k_groups, is_key);
    let column = (group - select(0u, q_pieces, is_key)) * COLUMNS + lane % COLUMNS;
    let inside = column < width;
    let first = select(0u, p.q_groups * p.q_width, is_key) + column;
    var sums = vec4(0.0);
    // eight vectors at once: their latency is what a workgroup waits for
    for (var i = lane / COLUMNS; i < p.tokens * groups && inside; i += 8u * SLICES) {
        let near = vec4(term(i, groups, width, first), term(i + SLICES, groups, width, first),
            term(i + 2u * SLICES, groups, width, first), term(i + 3u * SLICES, groups, width, first));
        let far = vec4(term(i + 4u * SLICES, groups, width, first), term(i + 5u * SLICES, groups, width, first),
            term(i + 6u * SLICES, groups, width, first), term(i + 7u * SLICES, groups, width, first));
        sums += near + far;
    }
    parts[lane] = (sums.x + sums.y) + (sums.z + sums.w);
    workgroupBarrier();
    for (var step = WIDTH / 2u; step >= COLUMNS; step /= 2u) {
        if lane < step {
            parts[lane] += parts[lane + step];
        }
        workgroupBarrier();
    }
    if lane < COLUMNS && inside {
        if is_key {
            d_k_weight[column] += parts[lane];
        } else {
            d_q_weight[column] += parts[lane];
        }
    }
}
