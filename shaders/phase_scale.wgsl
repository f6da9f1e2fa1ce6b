// sums = (sum |re|, count) over weights coded +-1 and (sum |im|, count) over those coded +-i, of the residual E_stage
// one workgroup owns one group of columns of one complex row
// r [rows + lower_rows, columns]; scales [cells, groups, 2, stages] of (re, im); sums [total rows, groups, 2, 2] of (low, high, count)

@group(0) @binding(3) var<storage, read_write> sums: array<u32>;

const WIDTH = 64u;
// columns a lane takes before its sums of 18 bits could outgrow 32
const MOST = 8192u;

// of all weights and of those coded +-i: sums of magnitudes in halves (high, low), and how many those are
struct Tally {
    all: vec2<u32>,
    odd: vec2<u32>,
    count: u32,
}

var<workgroup> shared_tallies: array<array<vec3<u32>, 4>, WIDTH>;

fn tally(t: Tally, z: vec2<f32>) -> Tally {
    let odd = phase_odd(z);
    let size = fixed_halves(select(z.x, z.y, odd), p.exponent);
    return Tally(t.all + size, t.odd + select(vec2(0u), size, odd), t.count + u32(odd));
}

// E_stage of a weight
fn residual(v: vec4<f32>, first: u32) -> vec4<f32> {
    var z = widely_split_blocks(v);
    for (var s = 0u; s < p.stage; s++) {
        let at_u = phase_value(phase_code(z.xy), scales[first + s]);
        let at_w = phase_value(phase_code(z.zw), scales[first + p.stages + s]);
        z -= vec4(at_u, at_w);
    }
    return z;
}

fn join(halves: vec2<u32>) -> vec2<u32> {
    return wide_add(wide_shl(vec2(halves.x, 0u), 18u), vec2(halves.y, 0u));
}

// adds a tally to what was found before: on the one axis, on the other
fn add(before: array<vec3<u32>, 2>, t: Tally, columns: u32) -> array<vec3<u32>, 2> {
    let even = wide_add(before[0].xy, join(t.all - t.odd));
    let odd = wide_add(before[1].xy, join(t.odd));
    return array(vec3(even, before[0].z + columns - t.count), vec3(odd, before[1].z + t.count));
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
    let first = scales_of(row, group);
    let end = min(p.half, (group + 1u) * p.group);
    var u = array<vec3<u32>, 2>();
    var w = array<vec3<u32>, 2>();
    for (var begin = group * p.group + lane; begin < end; begin += MOST * WIDTH) {
        let to = min(end, begin + MOST * WIDTH);
        var u_tally = Tally();
        var w_tally = Tally();
        var next = load(row, begin);
        for (var c = begin; c < to; c += WIDTH) {
            let z = residual(next, first);
            next = load(row, min(c + WIDTH, p.half)); // travels meanwhile
            u_tally = tally(u_tally, z.xy);
            w_tally = tally(w_tally, z.zw);
        }
        let columns = (to - begin + WIDTH - 1u) / WIDTH;
        u = add(u, u_tally, columns);
        w = add(w, w_tally, columns);
    }
    shared_tallies[lane] = array(u[0], u[1], w[0], w[1]);
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
