// y = U x + W conj(x) for one token, U and W in {1, i, -1, -i} stages, x in integers: exact sums
// one workgroup owns WIDTH / LANES complex rows, LANES invocations share a row
// codes [piece_rows, TERMS, words]; q [rows, 2, PLANES, words] of 16 bytes; cells [cells, 1 + groups TERMS 2]; y [rows, outputs]

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> q: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> absmax: array<u32>;
@group(0) @binding(4) var<storage, read> cells: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

override LANES: u32;

const WIDTH = 128u;

var<workgroup> partial: array<vec4<u32>, WIDTH>;
var<private> high: array<vec4<i32>, 8>;
var<private> low: array<vec4<i32>, 8>;
var<private> total: vec2<i32>;

// the sums so far times their scales; starts new sums
fn flush(acc: vec4<u32>, scales: u32) -> vec4<u32> {
    var result = acc;
    for (var t = 0u; t < TERMS; t++) {
        var planes = high[t];
        if PLANES == 2u {
            planes = planes * 256 + low[t];
        }
        let sums = turn(planes, total);
        let at = scales + 2u * t;
        result = accumulate(result, sums, cells[at], cells[at + 1u], 2u * t >= TERMS);
        high[t] = vec4(0);
        low[t] = vec4(0);
    }
    total = vec2(0);
    return result;
}

fn row_sum(row: u32, cell: u32, token: u32, lane: u32) -> vec4<u32> {
    var acc = vec4(0u);
    for (var t = 0u; t < TERMS; t++) {
        high[t] = vec4(0);
        low[t] = vec4(0);
    }
    total = vec2(0);
    let re = token * 2u * PLANES * p.words;
    let im = re + PLANES * p.words;
    for (var w = lane; w < p.words; w += LANES) {
        let re_high = q[re + w];
        let im_high = q[im + w];
        if PLANES == 2u {
            let re_low = q[re + p.words + w];
            let im_low = q[im + p.words + w];
            total += vec2(total_high(re_high), total_high(im_high)) * 256
                + vec2(total_low(re_low), total_low(im_low));
            for (var t = 0u; t < TERMS; t++) {
                let code = codes[(row * TERMS + t) * p.words + w];
                high[t] += word_high(code, re_high, im_high);
                low[t] += word_low(code, re_low, im_low);
            }
        } else {
            total += vec2(total_high(re_high), total_high(im_high));
            for (var t = 0u; t < TERMS; t++) {
                let code = codes[(row * TERMS + t) * p.words + w];
                high[t] += word_high(code, re_high, im_high);
            }
        }
        if p.groups > 1u {
            acc = flush(acc, cell + 1u + w / p.group_words * TERMS * 2u);
        }
    }
    if p.groups == 1u {
        acc = flush(acc, cell + 1u);
    }
    return acc;
}

@compute @workgroup_size(WIDTH)
fn phase_gemv(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let lane = index % LANES;
    let row = (wg.x + wg.y * nwg.x) * (WIDTH / LANES) + index / LANES;
    let token = wg.z;
    let target_place = place(p, p.first_row + row);
    let cell = target_place.x * (1u + p.groups * TERMS * 2u);
    if row < p.piece_rows {
        partial[index] = row_sum(row, cell, token, lane);
    }
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane < step && row < p.piece_rows {
            let a = partial[index];
            let b = partial[index + step];
            partial[index] = vec4(wide_add(a.xy, b.xy), wide_add(a.zw, b.zw));
        }
        workgroupBarrier();
    }
    // the first two invocations of a row finish its real and its imaginary part
    let at = select(target_place.y, target_place.z, lane == 1u);
    if row < p.piece_rows && lane < 2u && at != NOWHERE {
        let sum = partial[index - lane];
        let value = to_f32(select(sum.xy, sum.zw, lane == 1u), absmax[token], i32(cells[cell]));
        let i = token * p.outputs + at;
        y[i] = select(value, y[i] + value, p.add == 1u);
    }
}
