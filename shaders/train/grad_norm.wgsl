// Computes: sum x^2 and the largest |x| of every share of x
// Inputs: x
// Work split: one workgroup owns one share of at most `chunk` values, one invocation 16 of every 4096
// Shapes: x [n] f32; squares [offset + partials] f32; largest [offset + partials] u32, bits of a magnitude: infinity and NaN are
//         beyond 0x7f7fffff

struct Params {
    n: u32,
    chunk: u32,  // a multiple of 4
    partials: u32,
    offset: u32,  // index of the first result
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read_write> squares: array<f32>;
@group(0) @binding(3) var<storage, read_write> largest: array<u32>;

const WIDTH = 256u;

var<workgroup> lane_largest: array<u32, WIDTH>;

// magnitudes 4 at to 4 at + 3, or 0 from 4 end on
fn magnitudes(at: u32, end: u32) -> vec4<u32> {
    let words = words_load(min(at, end - 1u)) & vec4(0x7fffffffu);
    return select(vec4(0u), words, at < end);
}

fn square(words: vec4<u32>) -> vec4<f32> {
    let v = bitcast<vec4<f32>>(words);
    return v * v;
}

@compute @workgroup_size(WIDTH)
fn grad_norm(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    if group >= p.partials {
        return;
    }
    let begin = group * p.chunk / 4u;
    let end = (min(p.n, 4u * begin + p.chunk) + 3u) / 4u;
    var sums = vec4(0.0);
    var most = vec4(0u);
    for (var i = begin + lane; i < end; i += 4u * WIDTH) {
        let a = magnitudes(i, end);
        let b = magnitudes(i + WIDTH, end);
        let c = magnitudes(i + 2u * WIDTH, end);
        let d = magnitudes(i + 3u * WIDTH, end);
        sums += (square(a) + square(b)) + (square(c) + square(d));
        most = max(most, max(max(a, b), max(c, d)));
    }
    lane_largest[lane] = max(max(most.x, most.y), max(most.z, most.w));
    let total = reduce_sum(lane, (sums.x + sums.y) + (sums.z + sums.w));
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if lane < step {
            lane_largest[lane] = max(lane_largest[lane], lane_largest[lane + step]);
        }
        workgroupBarrier();
    }
    if lane == 0u {
        squares[p.offset + group] = total;
        largest[p.offset + group] = lane_largest[0];
    }
}
