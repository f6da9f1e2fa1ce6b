// parts = (sum x^2, largest |x|) of every share of x
// one workgroup owns one share of at most `share` values
// x [n] f32; squares [first + shares] f32; largest [first + shares] u32, bits of a magnitude: infinity and NaN are beyond 0x7f7fffff

struct Params {
    n: u32,
    share: u32,
    shares: u32,
    first: u32, // place of the first result
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> squares: array<f32>;
@group(0) @binding(3) var<storage, read_write> largest: array<u32>;

const WIDTH = 256u;

var<workgroup> tops: array<u32, WIDTH>;

@compute @workgroup_size(WIDTH)
fn grad_norm(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    if group >= p.shares {
        return;
    }
    let begin = group * p.share;
    let end = min(p.n, begin + p.share);
    var sums = vec4(0.0);
    var top = 0u;
    for (var i = begin + lane; i < end; i += 4u * WIDTH) {
        let at = i + WIDTH * vec4(0u, 1u, 2u, 3u);
        let place = min(at, vec4(p.n - 1u));
        let words = vec4(x[place.x], x[place.y], x[place.z], x[place.w]) & vec4(0x7fffffffu);
        let inside = select(vec4(0u), words, at < vec4(end));
        let v = bitcast<vec4<f32>>(inside);
        sums += v * v;
        top = max(top, max(max(inside.x, inside.y), max(inside.z, inside.w)));
    }
    tops[lane] = top;
    let total = reduce_sum(lane, (sums.x + sums.y) + (sums.z + sums.w));
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if lane < step {
            tops[lane] = max(tops[lane], tops[lane + step]);
        }
        workgroupBarrier();
    }
    if lane == 0u {
        squares[p.first + group] = total;
        largest[p.first + group] = tops[0];
    }
}
