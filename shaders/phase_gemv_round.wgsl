// y = U x + W conj(x) for tokens in f32, each normalized if asked for and rounded to integers on the way: exact sums
// teams of TEAM invocations own rows in strides of all teams; every workgroup rounds the token for itself
// codes [piece_rows, words] of TERMS words; x [rows, in]; weight [in]; cells [cells, 1 + TERMS 2]; y [rows, outputs]

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<Codes>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> cells: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

override TEAM: u32;

override WIDTH: u32;
override TEAMS = WIDTH / TEAM;

override RESULTS = TURNS * TEAMS;

var<workgroup> results: array<vec4<u32>, RESULTS>;

// where a result goes, and what is known of it before it is there
struct Goal {
    to: u32, // NOWHERE if there is none
    exponent: i32,
    before: f32,
}

// result i: the real (even) or imaginary part of a row
fn goal(i: u32, first: u32, stride: u32, token: u32) -> Goal {
    let row = first + i / 2u % TEAMS + i / 2u / TEAMS * stride;
    var g = Goal(NOWHERE, 0, 0.0);
    if i < 2u * RESULTS && row < p.piece_rows {
        let at = place(p, p.first_row + row);
        let to = select(at.y, at.z, i % 2u == 1u);
        if to != NOWHERE {
            g.to = token * p.outputs + to;
            g.exponent = i32(cells[at.x * (1u + TERMS * 2u)]);
            if p.add == 1u {
                g.before = y[g.to];
            }
        }
    }
    return g;
}

fn reach(i: u32, g: Goal, factor: u32) {
    if g.to != NOWHERE {
        let sum = results[i / 2u];
        let value = to_f32(select(sum.xy, sum.zw, i % 2u == 1u), factor, g.exponent);
        y[g.to] = select(value, g.before + value, p.add == 1u);
    }
}

@compute @workgroup_size(WIDTH)
fn phase_gemv_round(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let lane = index % TEAM;
    let team = index / TEAM;
    let token = wg.z;
    let first = (wg.x + wg.y * nwg.x) * TEAMS;
    let stride = nwg.x * nwg.y * TEAMS;
    let last = p.piece_rows - 1u;
    let early = goal(index, first, stride, token);
    // the first codes travel while the token is rounded
    var ready = load_pair(min(first + team, last), 0u, lane);
    let rounded = round_vector(index, token);
    for (var turn = 0u; turn < TURNS; turn++) {
        let row = min(first + team + turn * stride, last);
        let share = row_share(row, min(row + stride, last), lane, &ready);
        let sum = team_sum(index, scaled_share(share, rounded.total, lane, row));
        if lane == 0u {
            results[turn * TEAMS + team] = sum;
        }
    }
    workgroupBarrier();
    reach(index, early, rounded.factor);
    for (var i = index + WIDTH; i < 2u * RESULTS; i += WIDTH) {
        reach(i, goal(i, first, stride, token), rounded.factor);
    }
}
