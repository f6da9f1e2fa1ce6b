// Computes: chosen = one of the candidates of each row, drawn by integers with the weights 2^(-(l_0 - l_i) / temperature log2 e)
// among the prefix of candidates that min-p and top-p keep by their plain weights, of temperature 1
// Inputs: settings [rows, 4], or [1, 4] for all rows: log2 e / temperature f32, top-p in units of 2^-32, min-p of 2^-23, k
// Work split: one workgroup owns one row
// Shapes: ids [rows, k] u32 and logits [rows, k] f32, best first; random and chosen [offset + rows] u32

struct Params {
    rows: u32,
    k: u32,      // candidates that lie there for each row; it may draw from fewer
    offset: u32, // index of row 0 in random and chosen
    settings_stride: u32, // 1: rows have settings of their own; 0: one row of settings serves all
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read> settings: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> random: array<u32>;
@group(0) @binding(5) var<storage, read_write> chosen: array<u32>;

const WIDTH = 256u;
const LARGEST = 3.4028234663852886e38;
const LOG2_E = 1.4426950408889634;

var<workgroup> weights: array<vec2<u32>, WIDTH>; // plain, tempered

// 2^32 2^(-2^-(b + 1))
const ROOTS = array<u32, 16>(
    0xb504f334u, 0xd744fccbu, 0xeac0c6e8u, 0xf5257d15u, 0xfa83b2dbu, 0xfd3e0c0du, 0xfe9e115cu, 0xff4ecb59u,
    0xffa75652u, 0xffd3a752u, 0xffe9d2b3u, 0xfff4e91cu, 0xfffa747fu, 0xfffd3a3bu, 0xfffe9d1du, 0xffff4e8eu,
);

// 2^23 2^-x, for x >= 0; 0 from 24 on, and for NaN
fn power(x: f32) -> u32 {
    if (bitcast<u32>(x) & 0x7fffffffu) >= 0x41c00000u {
        return 0u;
    }
    let fixed = u32(x * 65536.0);
    var w = 0x80000000u;
    for (var b = 0u; b < 16u; b++) {
        if ((fixed >> (15u - b)) & 1u) == 1u {
            w = wide_mul(w, ROOTS[b]).y;
        }
    }
    return w >> (8u + (fixed >> 16u));
}

// how many of the first `k` candidates stay
fn prefix_length(k: u32, top_p: u32, min_p: u32) -> u32 {
    var total = 0u;
    for (var i = 0u; i < k; i++) {
        total += weights[i].x;
    }
    let enough = wide_mul(total, top_p).y;
    var sum = 0u;
    for (var i = 0u; i < k; i++) {
        if weights[i].x < min_p {
            return max(i, 1u);
        }
        sum += weights[i].x;
        if sum > enough {
            return i + 1u;
        }
    }
    return k;
}

@compute @workgroup_size(WIDTH)
fn sample(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.rows {
        return;
    }
    let base = row * p.k;
    // These are read before the barrier, so that their latency hides behind that of the logits.
    let number = random[p.offset + row];
    let how = settings[row * p.settings_stride];
    let k = min(how.w, p.k);
    if lane < k {
        let top = clamp(logits[base], -LARGEST, LARGEST);
        let gap = top - clamp(logits[base + lane], -LARGEST, LARGEST);
        weights[lane] = vec2(power(gap * LOG2_E), power(gap * bitcast<f32>(how.x)));
    }
    workgroupBarrier();
    if lane != 0u {
        return;
    }
    let count = prefix_length(k, how.y, how.z);
    var total = 0u;
    for (var i = 0u; i < count; i++) {
        total += weights[i].y;
    }
    let target_sum = wide_mul(total, number).y;
    var sum = 0u;
    var choice = 0u;
    for (var i = 0u; i < count; i++) {
        sum += weights[i].y;
        if sum > target_sum {
            choice = i;
            break;
        }
    }
    // With a best logit that is no number nothing can be chosen.
    let hopeless = (bitcast<u32>(logits[base]) & 0x7fffffffu) > 0x7f800000u;
    chosen[p.offset + row] = select(ids[base + choice], 0xffffffffu, hopeless);
}
