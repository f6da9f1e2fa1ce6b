// y = U x + W conj(x) for one token, U and W in {1, i, -1, -i} stages, x in f32
// one workgroup owns WIDTH / LANES complex rows, LANES invocations share a row
// codes [piece_rows, words, TERMS]; x [rows, in_features]; cells [cells, 1 + groups TERMS 2]; y [rows, outputs]

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> cells: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

override LANES: u32;

const WIDTH = 128u;

var<workgroup> partial: array<vec2<f32>, WIDTH>;
var<private> sums: array<vec4<f32>, 8>;

fn clear_sums() {
    for (var t = 0u; t < TERMS; t++) {
        sums[t] = vec4(0.0);
    }
}

// the sums so far times their scales; starts new sums
fn flush(scales: u32) -> vec2<f32> {
    var result = vec2(0.0);
    for (var t = 0u; t < TERMS; t++) {
        let at = scales + 2u * t;
        result += scaled(sums[t], vec2(cells[at], cells[at + 1u]), 2u * t >= TERMS);
    }
    clear_sums();
    return result;
}

fn activation(token: u32, c: u32) -> vec2<f32> {
    let half = (p.in_features + 1u) / 2u;
    var value = vec2(0.0);
    if c < half {
        value.x = x[token * p.in_features + c];
        if half + c < p.in_features {
            value.y = x[token * p.in_features + half + c];
        }
    }
    return value;
}

fn row_sum(row: u32, cell: u32, token: u32, lane: u32) -> vec2<f32> {
    var acc = vec2(0.0);
    clear_sums();
    for (var w = lane; w < p.words; w += LANES) {
        for (var j = 0u; j < 16u; j++) {
            let a = activation(token, 16u * w + j);
            let shift = 8u * (j % 4u) + 2u * (j / 4u);
            for (var t = 0u; t < TERMS; t++) {
                let code = codes[(row * p.words + w) * TERMS + t];
                sums[t] = add_symbol(sums[t], code >> shift, a);
            }
        }
        if p.groups > 1u {
            acc += flush(cell + 1u + w / p.group_words * TERMS * 2u);
        }
    }
    if p.groups == 1u {
        acc += flush(cell + 1u);
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
            partial[index] += partial[index + step];
        }
        workgroupBarrier();
    }
    let at = select(target_place.y, target_place.z, lane == 1u);
    if row < p.piece_rows && lane < 2u && at != NOWHERE {
        let sum = partial[index - lane];
        let value = select(sum.x, sum.y, lane == 1u);
        let i = token * p.outputs + at;
        y[i] = select(value, y[i] + value, p.add == 1u);
    }
}
