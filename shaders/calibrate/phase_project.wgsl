// Computes: for every scale of a row the sum of g along its codes: <B, g> for the weight B with this scale 1, others 0
// Inputs: a gradient g of the real weight, and the weight's codes
// Work split: one workgroup owns one group of a complex row, one invocation every 64th column
// Shapes: g [rows + lower_rows, columns]; codes [rows, 2, stages, words]; sums [rows, groups, 2, stages] of (re, im)

override STAGES: u32 = 4u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

const WIDTH = 64u;

var<workgroup> partials: array<vec2<f32>, WIDTH>;

// along Re U, Im U, Re W, Im W
fn along(row: u32, c: u32) -> vec4<f32> {
    let upper = row * p.columns + c;
    let lower = upper + p.rows * p.columns;
    let right = c + p.half < p.columns;
    let below = row < p.lower_rows;
    let there = vec4(true, right, below, right && below);
    let at = select(vec4(0u), vec4(upper, upper + p.half, lower, lower + p.half), there);
    let v = select(vec4(0.0), vec4(g[at.x], g[at.y], g[at.z], g[at.w]), there);
    return vec4(v.x + v.w, v.z - v.y, v.x - v.w, v.y + v.z);
}

@compute @workgroup_size(WIDTH)
fn phase_project(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = wg.x + wg.y * nwg.x;
    if index >= p.rows * p.groups {
        return;
    }
    let row = index / p.groups;
    let first = index % p.groups * p.group;
    let words = (p.half + 15u) / 16u;
    var own = array<vec2<f32>, 8>();
    for (var c = first + lane; c < min(first + p.group, p.half); c += WIDTH) {
        let v = along(row, c);
        for (var plane = 0u; plane < 2u * STAGES; plane++) {
            let k = phase_code_at(codes[(row * 2u * STAGES + plane) * words + c / 16u], c);
            let w = select(v.xy, v.zw, plane >= STAGES);
            own[plane] += phase_value(k, w);
        }
    }
    for (var plane = 0u; plane < 2u * STAGES; plane++) {
        workgroupBarrier();
        partials[lane] = own[plane];
        workgroupBarrier();
        for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
            if lane < step {
                partials[lane] += partials[lane + step];
            }
            workgroupBarrier();
        }
        if lane == 0u {
            let at = (index * 2u * STAGES + plane) * 2u;
            sums[at] = partials[0].x;
            sums[at + 1u] = partials[0].y;
        }
    }
}
