// Computes: scale = max(sum / count, least): exact 64-bit sums, one division, one rounding
// Inputs: sums and counts of phase_scale
// Work split: where rows share a scale, one workgroup owns one scale and its invocations share the rows; otherwise every
//             invocation owns one scale
// Shapes: sums [rows, groups, matrices, 2] of (low, high, count); scales [blocks, groups, matrices, stages, 2], of `stage` alone

struct Params {
    rows: u32,
    block_rows: u32, // that share one scale
    scales: u32,     // of this stage and a block of rows
    stages: u32,
    stage: u32,
    exponent: i32,
    least: u32, // bits of an f32
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> sums: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<f32>;

const WIDTH = 256u;

var<workgroup> totals: array<vec3<u32>, WIDTH>;

@compute @workgroup_size(WIDTH)
fn phase_mean(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = wg.x + wg.y * nwg.x;
    let together = p.block_rows > 1u;
    let scale = select(index * WIDTH + lane, index, together);
    let block = scale / p.scales;
    let first = block * p.block_rows + select(0u, lane, together);
    let end = min(p.rows, (block + 1u) * p.block_rows);
    let there = block * p.block_rows < p.rows;
    var total = vec3<u32>();
    if there {
        for (var row = first; row < end; row += WIDTH) {
            let at = (row * p.scales + scale % p.scales) * 3u;
            total = vec3(wide_add(total.xy, vec2(sums[at], sums[at + 1u])), total.z + sums[at + 2u]);
        }
    }
    totals[lane] = total;
    workgroupBarrier();
    if together {
        for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
            if lane < step {
                let a = totals[lane];
                let b = totals[lane + step];
                totals[lane] = vec3(wide_add(a.xy, b.xy), a.z + b.z);
            }
            workgroupBarrier();
        }
    }
    if there && (lane == 0u || !together) {
        let mean = fixed_mean(totals[lane].xy, totals[lane].z, p.exponent, p.least);
        // scale = ((block, group, matrix), axis)
        scales[((scale >> 1u) * p.stages + p.stage) * 2u + (scale & 1u)] = bitcast<f32>(mean);
    }
}
