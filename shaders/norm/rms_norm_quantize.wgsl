// q, factor = the integers of x / rms(x) weight and what they are worth, per row; exact in every step
// one workgroup owns one row
// x [rows, columns] f32; weight [columns]; q [rows, parts, plane_words] u32 of 4 bytes; factor [rows] f32 bits

struct Params {
    rows: u32,
    quarter: u32,     // vec4s in half a row
    plane_words: u32, // words of one byte plane
    eps_n: f32,       // columns eps
    root_n: f32,      // sqrt(columns)
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> q: array<u32>;
@group(0) @binding(4) var<storage, read_write> factor: array<u32>;

override PLANES: u32;

const WIDTH = 256u;
override TEAM: u32;

var<private> row: u32;

fn normed() -> bool {
    return true;
}

fn plane_words() -> u32 {
    return p.plane_words;
}

fn put(plane: u32, word: u32, bytes: u32) {
    q[(row * 2u * PLANES + plane) * p.plane_words + word] = bytes;
}

fn leave_totals(index: u32, own: vec2<i32>) {}

@compute @workgroup_size(WIDTH)
fn rms_norm_quantize(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    row = wg.x + wg.y * nwg.x;
    if row >= p.rows {
        return;
    }
    let own = load_token(index, row);
    let tops = group_max(index, token_tops(index, row, own));
    let rounding = round_vector(index, row, own, tops);
    workgroupBarrier();
    let worth = factor_of(index, rounding);
    if index == 0u {
        factor[row] = worth;
    }
}
