// sums = (sum |re|, count) over weights coded +-1 and (sum |im|, count) over those coded +-i, of the residual E_stage
// one workgroup owns one group of columns of one complex row
// r [rows + lower_rows, columns]; scales [cells, groups, 2, stages, 2]; sums [total rows, groups, 2, 2] of (low, high, count)

struct Params {
    first_row: u32,  // of the piece, among the rows that share `scales` and `sums`
    rows: u32,       // upper real rows in r
    lower_rows: u32, // real rows below them: as many, or one less (then it is 0)
    columns: u32,    // real
    half: u32,       // complex
    group: u32,      // complex columns that share scales
    groups: u32,
    by_row: u32,     // 0: one cell of scales, 1: one per row
    stages: u32,
    stage: u32,
    exponent: i32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<u32>;

const WIDTH = 64u;

var<workgroup> shared_tallies: array<array<vec3<u32>, 4>, WIDTH>;

fn load(row: u32, c: u32) -> vec4<f32> {
    let upper = row * p.columns + c;
    let lower = upper + p.rows * p.columns;
    let right = c + p.half < p.columns;
    let below = row < p.lower_rows;
    var v = vec4(r[upper], 0.0, 0.0, 0.0);
    if right {
        v.y = r[upper + p.half];
    }
    if below {
        v.z = r[lower];
    }
    if right && below {
        v.w = r[lower + p.half];
    }
    return widely_split_blocks(v);
}

fn tally(t: vec3<u32>, magnitude: vec2<u32>, on: bool) -> vec3<u32> {
    return vec3(wide_add(t.xy, select(vec2(0u), magnitude, on)), t.z + u32(on));
}

@compute @workgroup_size(WIDTH)
fn phase_scale(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = wg.x + wg.y * nwg.x;
    if index >= p.rows * p.groups {
        return;
    }
    let row = index / p.groups;
    let group = index % p.groups;
    let cell = select(0u, p.first_row + row, p.by_row == 1u);
    let u_scales = (cell * p.groups + group) * 4u * p.stages;
    let w_scales = u_scales + 2u * p.stages;
    var t = array<vec3<u32>, 4>();
    for (var c = group * p.group + lane; c < min(p.half, (group + 1u) * p.group); c += WIDTH) {
        var z = load(row, c);
        for (var s = 0u; s < p.stage; s++) {
            let u = u_scales + 2u * s;
            let w = w_scales + 2u * s;
            let at_u = phase_value(phase_code(z.xy), vec2(scales[u], scales[u + 1u]));
            let at_w = phase_value(phase_code(z.zw), vec2(scales[w], scales[w + 1u]));
            z -= vec4(at_u, at_w);
        }
        let u_odd = (phase_code(z.xy) & 1u) == 1u;
        let w_odd = (phase_code(z.zw) & 1u) == 1u;
        let u_size = fixed_magnitude(select(z.x, z.y, u_odd), p.exponent);
        let w_size = fixed_magnitude(select(z.z, z.w, w_odd), p.exponent);
        t[0] = tally(t[0], u_size, !u_odd);
        t[1] = tally(t[1], u_size, u_odd);
        t[2] = tally(t[2], w_size, !w_odd);
        t[3] = tally(t[3], w_size, w_odd);
    }
    shared_tallies[lane] = t;
    workgroupBarrier();
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if lane < step {
            for (var i = 0u; i < 4u; i++) {
                let a = shared_tallies[lane][i];
                let b = shared_tallies[lane + step][i];
                shared_tallies[lane][i] = vec3(wide_add(a.xy, b.xy), a.z + b.z);
            }
        }
        workgroupBarrier();
    }
    if lane < 4u {
        let at = (((p.first_row + row) * p.groups + group) * 4u + lane) * 3u;
        let total = shared_tallies[0][lane];
        sums[at] = total.x;
        sums[at + 1u] = total.y;
        sums[at + 2u] = total.z;
    }
}
