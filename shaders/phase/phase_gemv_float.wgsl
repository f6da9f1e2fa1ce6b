// Computes: y = U x + W conj(x) for one token in f32, U and W sums of stages; without U in the conjugate form
// Inputs: codes and scales of a stack of layers; tokens in f32
// Work split: LANES invocations share two complex rows; grid z counts tokens
// Shapes: codes [shard_rows, words] of PLANES words; x [rows, in_features]; scale_blocks [scale_blocks, 1 + groups * PLANES * 2];
//         y [rows, outputs]

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<Codes>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> scale_blocks: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

override LANES: u32;
override U_PLANES: u32; // how many of the planes, the first ones, are those of U

const WIDTH = 128u;
const PITCH = 5u; // vec4s from word to word: its four, and one more against bank conflicts

var<workgroup> staged: array<vec4<f32>, 320>; // [real or imaginary, LANES at most 32][PITCH]
var<workgroup> partial: array<vec4<f32>, WIDTH>;

// Stages both halves of LANES words of the token from word `first` on.
fn stage(token: u32, first: u32, index: u32) {
    for (var i = index; i < 2u * LANES * 4u; i += WIDTH) {
        let part = i / (4u * LANES);
        let quad = i % (4u * LANES);
        let c = 16u * first + 4u * quad;
        staged[(part * LANES + quad / 4u) * PITCH + quad % 4u] = vec4(
            halves_value(token, part, c),
            halves_value(token, part, c + 1u),
            halves_value(token, part, c + 2u),
            halves_value(token, part, c + 3u),
        );
    }
}

fn sixteen(lane: u32) -> Sixteen {
    let re = lane * PITCH;
    let im = (LANES + lane) * PITCH;
    return Sixteen(
        staged[re],
        staged[re + 1u],
        staged[re + 2u],
        staged[re + 3u],
        staged[im],
        staged[im + 1u],
        staged[im + 2u],
        staged[im + 3u],
    );
}

fn scaled_plane(sums: vec4<f32>, scales: u32, t: u32) -> vec2<f32> {
    return signs_scaled(sums, vec2(scale_blocks[scales + 2u * t], scale_blocks[scales + 2u * t + 1u]), t >= U_PLANES);
}

fn scaled_planes(s: Signed, scales: u32) -> vec2<f32> {
    var sum = scaled_plane(s.t0, scales, 0u);
    if PLANES > 1u {
        sum += scaled_plane(s.t1, scales, 1u);
    }
    if PLANES == 3u {
        sum += scaled_plane(s.t2, scales, 2u);
    }
    if PLANES > 3u {
        sum += scaled_plane(s.t2, scales, 2u) + scaled_plane(s.t3, scales, 3u);
    }
    if PLANES > 4u {
        sum += scaled_plane(s.t4, scales, 4u) + scaled_plane(s.t5, scales, 5u);
    }
    if PLANES > 6u {
        sum += scaled_plane(s.t6, scales, 6u) + scaled_plane(s.t7, scales, 7u);
    }
    return sum;
}

// The index of the scales of a row for the group of a word.
fn scales_of(row: u32, word: u32) -> u32 {
    let scale_block = stack_place(p, p.first_row + row).x * (1u + p.groups * PLANES * 2u);
    return scale_block + 1u + word / p.group_words * PLANES * 2u;
}

// An invocation's share of two rows.
fn row_sums(first: u32, second: u32, token: u32, index: u32) -> vec4<f32> {
    let lane = index % LANES;
    var acc = vec4(0.0);
    var a: Signed;
    var b: Signed;
    for (var start = 0u; start < p.words; start += LANES) {
        workgroupBarrier();
        stage(token, start, index);
        workgroupBarrier();
        // Beyond the end of a row any codes will do, because the token is zero there.
        let w = min(start + lane, p.words - 1u);
        let values = sixteen(lane);
        a = signs_add(a, codes[first * p.words + w], values);
        b = signs_add(b, codes[second * p.words + w], values);
        if p.groups > 1u {
            acc += vec4(scaled_planes(a, scales_of(first, w)), scaled_planes(b, scales_of(second, w)));
            a = Signed();
            b = Signed();
        }
    }
    if p.groups == 1u {
        acc += vec4(scaled_planes(a, scales_of(first, 0u)), scaled_planes(b, scales_of(second, 0u)));
    }
    return acc;
}

@compute @workgroup_size(WIDTH)
fn phase_gemv_float(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let lane = index % LANES;
    let row = 2u * ((wg.x + wg.y * nwg.x) * (WIDTH / LANES) + index / LANES);
    let last = p.shard_rows - 1u;
    let token = wg.z;
    partial[index] = row_sums(min(row, last), min(row + 1u, last), token, index);
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane < step {
            partial[index] += partial[index + step];
        }
        workgroupBarrier();
    }
    // LANES is at least 4: these are the real and the imaginary half of the first row, then of the second.
    let mine = row + lane / 2u;
    if lane < 4u && mine < p.shard_rows {
        let at = stack_place(p, p.first_row + mine);
        let to = select(at.y, at.z, lane % 2u == 1u);
        if to != NOWHERE {
            let value = partial[index - lane][lane];
            let i = token * p.outputs + to;
            y[i] = select(value, y[i] + value, p.accumulate == 1u);
        }
    }
}
