// y = U x + W conj(x) for one token, U and W in {1, i, -1, -i} stages, x in f32
// one workgroup owns two complex rows for each of its teams of LANES invocations
// codes [piece_rows, words] of TERMS words; x [rows, in_features]; cells [cells, 1 + groups TERMS 2]; y [rows, outputs]

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<Codes>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> cells: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

override LANES: u32;

const WIDTH = 128u;
const PITCH = 5u; // vec4s from word to word: its four, and one more against bank conflicts

var<workgroup> staged: array<vec4<f32>, 320>; // [real or imaginary, LANES at most 32][PITCH]
var<workgroup> partial: array<vec4<f32>, WIDTH>;

// both parts of LANES words of the token from word `first` on
fn stage(token: u32, first: u32, index: u32) {
    for (var i = index; i < 2u * LANES * 4u; i += WIDTH) {
        let part = i / (4u * LANES);
        let quad = i % (4u * LANES);
        let c = 16u * first + 4u * quad;
        staged[(part * LANES + quad / 4u) * PITCH + quad % 4u] = vec4(
            value_at(token, part, c),
            value_at(token, part, c + 1u),
            value_at(token, part, c + 2u),
            value_at(token, part, c + 3u),
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

fn scaled_term(sums: vec4<f32>, scales: u32, t: u32) -> vec2<f32> {
    return scaled(sums, vec2(cells[scales + 2u * t], cells[scales + 2u * t + 1u]), 2u * t >= TERMS);
}

fn scaled_terms(s: Signed, scales: u32) -> vec2<f32> {
    var sum = scaled_term(s.t0, scales, 0u) + scaled_term(s.t1, scales, 1u);
    if TERMS > 2u {
        sum += scaled_term(s.t2, scales, 2u) + scaled_term(s.t3, scales, 3u);
    }
    if TERMS > 4u {
        sum += scaled_term(s.t4, scales, 4u) + scaled_term(s.t5, scales, 5u);
    }
    if TERMS > 6u {
        sum += scaled_term(s.t6, scales, 6u) + scaled_term(s.t7, scales, 7u);
    }
    return sum;
}

// scales of a row in the group of a word
fn scales_of(row: u32, word: u32) -> u32 {
    let cell = place(p, p.first_row + row).x * (1u + p.groups * TERMS * 2u);
    return cell + 1u + word / p.group_words * TERMS * 2u;
}

// an invocation's share of two rows
fn row_sums(first: u32, second: u32, token: u32, index: u32) -> vec4<f32> {
    let lane = index % LANES;
    var acc = vec4(0.0);
    var a: Signed;
    var b: Signed;
    for (var start = 0u; start < p.words; start += LANES) {
        workgroupBarrier();
        stage(token, start, index);
        workgroupBarrier();
        // beyond the end of a row any codes will do, the token is zero there
        let w = min(start + lane, p.words - 1u);
        let values = sixteen(lane);
        a = add_codes(a, codes[first * p.words + w], values);
        b = add_codes(b, codes[second * p.words + w], values);
        if p.groups > 1u {
            acc += vec4(scaled_terms(a, scales_of(first, w)), scaled_terms(b, scales_of(second, w)));
            a = Signed();
            b = Signed();
        }
    }
    if p.groups == 1u {
        acc += vec4(scaled_terms(a, scales_of(first, 0u)), scaled_terms(b, scales_of(second, 0u)));
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
    let last = p.piece_rows - 1u;
    let token = wg.z;
    partial[index] = row_sums(min(row, last), min(row + 1u, last), token, index);
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane < step {
            partial[index] += partial[index + step];
        }
        workgroupBarrier();
    }
    // LANES is at least 4: real and imaginary part of the first row, then of the second
    let mine = row + lane / 2u;
    if lane < 4u && mine < p.piece_rows {
        let at = place(p, p.first_row + mine);
        let to = select(at.y, at.z, lane % 2u == 1u);
        if to != NOWHERE {
            let value = partial[index - lane][lane];
            let i = token * p.outputs + to;
            y[i] = select(value, y[i] + value, p.add == 1u);
        }
    }
}
