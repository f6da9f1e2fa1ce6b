// codes of all stages: k_t = sector(E_t), E_{t+1} = E_t - i^k_t s_t; and sum |R - Rq|^2, sum |R|^2 in fixed point
// one workgroup owns one complex row, one lane four columns of every 256
// r [rows + lower_rows, columns]; scales [cells, groups, 2, stages] of (re, im); codes [rows, 2, stages, words]; errors [rows, 2] u64

@group(0) @binding(3) var<storage, read_write> codes: array<u32>;
@group(0) @binding(4) var<storage, read_write> errors: array<u32>;

const WIDTH = 64u;
const WORDS = 16u; // of a plane, for the columns of one turn
const PITCH = 17u; // places of a word's 16 columns: words lie in different banks

// symbols of every column, two bits for each plane: the stages of U, then those of W
var<workgroup> symbols: array<u32, WORDS * PITCH>;
var<workgroup> totals: array<vec4<u32>, WIDTH>;

fn squares(v: vec4<f32>) -> vec2<u32> {
    let e = p.exponent + 1;
    let upper = wide_add(fixed_square(v.x, e), fixed_square(v.y, e));
    let lower = wide_add(fixed_square(v.z, e), fixed_square(v.w, e));
    return wide_add(upper, lower);
}

// puts the symbols of column c, number i of this turn, in their place; returns (squared error, squared magnitude)
fn encode(v: vec4<f32>, row: u32, c: u32, i: u32) -> vec4<u32> {
    let there = c < p.half;
    let group = select(0u, c / p.group, p.groups > 1u && there);
    let first = scales_of(row, group);
    var z = widely_split_blocks(v);
    var found = 0u;
    for (var t = 0u; t < p.stages; t++) {
        let u = phase_code(z.xy);
        let w = phase_code(z.zw);
        found |= (phase_symbol(u) | (phase_symbol(w) << (2u * p.stages))) << (2u * t);
        z -= vec4(phase_value(u, scales[first + t]), phase_value(w, scales[first + p.stages + t]));
    }
    symbols[(i / 16u) * PITCH + i % 16u] = select(0u, found, there);
    if p.measure == 0u {
        return vec4(0u);
    }
    let right = c + p.half < p.columns;
    let below = row < p.lower_rows;
    let real = vec4(there, right, there && below, right && below);
    let error = select(vec4(0.0), widely_merge_parts(z), real);
    return vec4(squares(error), squares(v));
}

fn add(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    return vec4(wide_add(a.xy, b.xy), wide_add(a.zw, b.zw));
}

// the word of 16 columns in one plane
fn gather(word: u32, plane: u32) -> u32 {
    var packed = 0u;
    for (var j = 0u; j < 16u; j++) {
        packed |= ((symbols[word * PITCH + j] >> (2u * plane)) & 3u) << phase_shift(j);
    }
    return packed;
}

@compute @workgroup_size(WIDTH)
fn phase_pack(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.rows {
        return;
    }
    let words = (p.half + 15u) / 16u;
    var total = vec4<u32>();
    for (var first = 0u; first < p.half; first += 4u * WIDTH) {
        let c = first + lane + WIDTH * vec4(0u, 1u, 2u, 3u);
        let v = array(load(row, c.x), load(row, c.y), load(row, c.z), load(row, c.w));
        total = add(total, encode(v[0], row, c.x, c.x - first));
        total = add(total, encode(v[1], row, c.y, c.y - first));
        total = add(total, encode(v[2], row, c.z, c.z - first));
        total = add(total, encode(v[3], row, c.w, c.w - first));
        workgroupBarrier();
        for (var i = lane; i < WORDS * 2u * p.stages; i += WIDTH) {
            let word = first / 16u + i % WORDS;
            let plane = i / WORDS;
            if word < words {
                codes[(row * 2u * p.stages + plane) * words + word] = gather(i % WORDS, plane);
            }
        }
        workgroupBarrier();
    }
    if p.measure == 0u {
        return;
    }
    totals[lane] = total;
    workgroupBarrier();
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if lane < step {
            totals[lane] = add(totals[lane], totals[lane + step]);
        }
        workgroupBarrier();
    }
    if lane < 4u {
        errors[row * 4u + lane] = totals[0][lane];
    }
}
