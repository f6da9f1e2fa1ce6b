// y = silu(gate) up, where gate and up are the two stacked layers' phase products with tokens in f32, each normalized
// and rounded to integers on the way: exact up to the gate
// teams of TEAM invocations own rows of gate with the same rows of up, in strides of all teams
// codes [2 half, words] of TERMS words; x [rows, in]; weight [in]; cells [cells, 1 + TERMS 2]; y [rows, n]

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<Codes>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> cells: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

override TEAM: u32;

override WIDTH: u32;
override TEAMS = WIDTH / TEAM;

override RESULTS = 2u * TURNS * TEAMS;

var<workgroup> results: array<vec4<u32>, RESULTS>; // gate, up

fn value_of(slot: u32, imaginary: bool, row: u32, factor: u32) -> f32 {
    let sum = results[slot];
    let exponent = i32(cells[place(p, row).x * (1u + TERMS * 2u)]);
    return to_f32(select(sum.xy, sum.zw, imaginary), factor, exponent);
}

@compute @workgroup_size(WIDTH)
fn phase_gemv_swiglu(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let lane = index % TEAM;
    let team = index / TEAM;
    let token = wg.z;
    let half = p.piece_rows / 2u;
    let first = (wg.x + wg.y * nwg.x) * TEAMS;
    let stride = nwg.x * nwg.y * TEAMS;
    var ready = load_pair(min(first + team, half - 1u), 0u, lane);
    let rounded = round_vector(index, token);
    for (var turn = 0u; turn < 2u * TURNS; turn++) {
        // gate, up, gate of the next row, ...
        let row = min(first + team + turn / 2u * stride, half - 1u);
        let following = min(first + team + (turn + 1u) / 2u * stride, half - 1u);
        let up = turn % 2u * half;
        let share = row_share(row + up, following + half - up, lane, &ready);
        let sum = team_sum(index, scaled_share(share, rounded.total, lane, row + up));
        if lane == 0u {
            results[turn * TEAMS + team] = sum;
        }
    }
    workgroupBarrier();
    for (var i = index; i < RESULTS; i += WIDTH) {
        let turn = i / 2u / TEAMS;
        let row = first + i / 2u % TEAMS + turn * stride;
        let imaginary = i % 2u == 1u;
        let to = select(row, row + half, imaginary);
        if row < half && to < p.outs0 {
            let slot = 2u * turn * TEAMS + i / 2u % TEAMS;
            let gate = value_of(slot, imaginary, row, rounded.factor);
            let up = value_of(slot + TEAMS, imaginary, row + half, rounded.factor);
            y[token * p.outs0 + to] = gate / (1.0 + exp(-gate)) * up;
        }
    }
}
