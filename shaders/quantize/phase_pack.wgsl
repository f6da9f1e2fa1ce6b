// Computes: codes of all stages, k_t = sector(E_t) with E_{t+1} = E_t - i^k_t * s_t; and sum |R - Rq|^2, sum |R|^2 in
//           fixed point
// Inputs: the real weight r and the scales of its stages
// Work split: one workgroup owns one complex row, one invocation four columns of every 512
// Shapes: r [rows + lower_rows, columns]; scales [blocks, groups, matrices, stages] of (re, im); codes [rows, matrices, stages, words];
//         errors [rows, 2] u64

override STAGES: u32 = 4u;
override MEASURE: bool = true; // errors are wanted

@group(0) @binding(3) var<storage, read_write> codes: array<u32>;
@group(0) @binding(4) var<storage, read_write> errors: array<u32>;

const WIDTH = 128u;
const WORDS = WIDTH / 4u; // words of a plane for the columns of one round

// an invocation's four columns of a word of every plane: the stages of U, if there is one, then those of W
var<workgroup> parts: array<u32, MATRICES * STAGES * WIDTH>;
var<workgroup> totals: array<vec4<u32>, WIDTH>;

// The symbols of four columns, one in each byte.
fn symbols(k: Sectors, there: vec4<bool>) -> u32 {
    let low = select(vec4(0u), vec4(0x1u, 0x100u, 0x10000u, 0x1000000u), k.low & there);
    let high = select(vec4(0u), vec4(0x2u, 0x200u, 0x20000u, 0x2000000u), k.high & there);
    let both = low | high;
    return (both.x | both.y) | (both.z | both.w);
}

fn squares(v: vec4<f32>) -> vec2<u32> {
    let e = p.exponent + 1;
    let some = wide_add(fixed_square(v.x, e), fixed_square(v.y, e));
    let others = wide_add(fixed_square(v.z, e), fixed_square(v.w, e));
    return wide_add(some, others);
}

fn squares_four(v: Four) -> vec2<u32> {
    return wide_add(wide_add(squares(v.a), squares(v.b)), wide_add(squares(v.c), squares(v.d)));
}

// R - Rq from twice (U, W), or from twice W where it is stored. What a device does with subnormals does not matter, because
// their squares are 0.
fn merged(z: Four, row: u32, c: vec4<u32>) -> Four {
    let none = vec4(0.0);
    let left = c < vec4(p.half);
    if MATRICES == 1u {
        return Four(select(none, 0.5 * z.a, left), select(none, 0.5 * z.b, left), none, none);
    }
    let right = c + vec4(p.half) < vec4(p.columns);
    let below = vec4(row < p.lower_rows);
    return Four(
        select(none, 0.5 * z.a + 0.5 * z.c, left),
        select(none, 0.5 * z.d - 0.5 * z.b, left & right),
        select(none, 0.5 * z.d + 0.5 * z.b, left & below),
        select(none, 0.5 * z.a - 0.5 * z.c, left & right & below),
    );
}

// Puts the codes of four columns where they belong, and returns twice the last residual.
fn encode(v: Four, row: u32, c: u32, lane: u32) -> Four {
    let there = c + vec4(0u, 1u, 2u, 3u) < vec4(p.half);
    var group = 0u;
    if p.groups > 1u {
        group = min(c / p.group, p.groups - 1u);
    }
    let first = columns_scales(row, group);
    let shift = phase_shift(c);
    var z = columns_split(v);
    for (var t = 0u; t < STAGES; t++) {
        let u = phase_sectors(z.a, z.b);
        let w = phase_sectors(z.c, z.d);
        parts[t * WIDTH + lane] = symbols(u, there) << shift;
        if MATRICES == 2u {
            parts[(STAGES + t) * WIDTH + lane] = symbols(w, there) << shift;
        }
        if MEASURE || t + 1u < STAGES {
            z = columns_step(z, u, w, first + t);
        }
    }
    return z;
}

@compute @workgroup_size(WIDTH)
fn phase_pack(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = wg.x + wg.y * nwg.x;
    if index >= p.rows {
        return;
    }
    // The pass before this one (phase_scale.wgsl) ended at the other end of the weight, which is still in the cache.
    let row = select(index, p.rows - 1u - index, STAGES % 2u == 0u);
    let words = (p.half + 15u) / 16u;
    var total = vec4<u32>();
    for (var first = 0u; first < p.half; first += 4u * WIDTH) {
        let c = first + 4u * lane;
        let v = columns_load(row, c);
        let z = encode(v, row, c, lane);
        if MEASURE && c < p.half {
            let error = wide_add(total.xy, squares_four(merged(z, row, c + vec4(0u, 1u, 2u, 3u))));
            total = vec4(error, wide_add(total.zw, squares_four(v)));
        }
        workgroupBarrier();
        for (var i = lane; i < WORDS * MATRICES * STAGES; i += WIDTH) {
            let word = first / 16u + i % WORDS;
            if word < words {
                let packed = (parts[4u * i] | parts[4u * i + 1u]) | (parts[4u * i + 2u] | parts[4u * i + 3u]);
                codes[(row * MATRICES * STAGES + i / WORDS) * words + word] = packed;
            }
        }
        workgroupBarrier();
    }
    if !MEASURE {
        return;
    }
    totals[lane] = total;
    workgroupBarrier();
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if lane < step {
            let a = totals[lane];
            let b = totals[lane + step];
            totals[lane] = vec4(wide_add(a.xy, b.xy), wide_add(a.zw, b.zw));
        }
        workgroupBarrier();
    }
    if lane < 4u {
        errors[row * 4u + lane] = totals[0][lane];
    }
}
