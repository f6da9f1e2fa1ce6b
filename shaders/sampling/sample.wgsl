// one of k candidates of each row, drawn by integers: weights 2^(-(l_0 - l_i) rate), of which min-p and top-p keep a prefix
// one workgroup owns one row
// ids [rows, k] u32 and logits [rows, k] f32, best first; random and chosen [to + rows] u32

struct Params {
    rows: u32,
    k: u32,
    to: u32,
    rate: f32,     // log2 e
    tempered: f32, // log2 e / temperature
    top_p: u32,    // in units of 2^-32
    min_p: u32,    // in units of 2^-23
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read> random: array<u32>;
@group(0) @binding(4) var<storage, read_write> chosen: array<u32>;

const WIDTH = 256u;
const LARGEST = 3.4028234663852886e38;

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

// how many candidates stay
fn kept() -> u32 {
    var total = 0u;
    for (var i = 0u; i < p.k; i++) {
        total += weights[i].x;
    }
    let enough = wide_mul(total, p.top_p).y;
    var sum = 0u;
    for (var i = 0u; i < p.k; i++) {
        if weights[i].x < p.min_p {
            return max(i, 1u);
        }
        sum += weights[i].x;
        if sum > enough {
            return i + 1u;
        }
    }
    return p.k;
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
    // read before the barrier, so that its latency hides behind that of the logits
    let number = random[p.to + row];
    if lane < p.k {
        let top = clamp(logits[base], -LARGEST, LARGEST);
        let gap = top - clamp(logits[base + lane], -LARGEST, LARGEST);
        weights[lane] = vec2(power(gap * p.rate), power(gap * p.tempered));
    }
    workgroupBarrier();
    if lane != 0u {
        return;
    }
    let count = kept();
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
    // a best logit that is no number: nothing can be chosen
    let hopeless = (bitcast<u32>(logits[base]) & 0x7fffffffu) > 0x7f800000u;
    chosen[p.to + row] = select(ids[base + choice], 0xffffffffu, hopeless);
}
