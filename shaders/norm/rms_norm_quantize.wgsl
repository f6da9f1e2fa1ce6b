// Computes: q, the integers of x / rms(x) * weight, and factor, what they are worth, per row; every step is exact
// Inputs: x and the norm's weights
// Work split: one workgroup owns one row
// Shapes: x [rows, columns] f32; weight [columns]; q [rows, 2 halves, BYTES, plane_words] u32 of 4 bytes;
//         factor [rows] f32, or [rows, 2 halves] with CONJ, as bits

struct Params {
    tokens: u32,
    quarter: u32,     // vec4s in half a row
    plane_words: u32, // words of one byte plane
    eps_n: f32,       // n eps, where the sum of squares is divided by n
    root_n: f32,      // sqrt(n)
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> q: array<u32>;
@group(0) @binding(4) var<storage, read_write> factor: array<u32>;

override BYTES: u32;

const WIDTH = 256u;
override TILE: u32;

var<private> row: u32;

fn normed() -> bool {
    return true;
}

fn plane_words() -> u32 {
    return p.plane_words;
}

fn put(plane: u32, word: u32, bytes: u32) {
    q[(row * 2u * BYTES + plane) * p.plane_words + word] = bytes;
}

fn leave_totals(index: u32, own: vec2<i32>) {}

@compute @workgroup_size(WIDTH)
fn rms_norm_quantize(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let token = wg.x + wg.y * nwg.x; // uniform, which browsers cannot see of a private variable
    row = token;
    if token >= p.tokens {
        return;
    }
    let own = round_load_token(index, row);
    let tops = tile_group_max(index, round_token_absmax(index, row, own));
    let rounding = round_vector(index, row, own, tops);
    workgroupBarrier();
    let worth = round_factor(index, rounding);
    if index == 0u {
        factor[row * (1u + CONJ)] = worth.x;
        if CONJ == 1u {
            factor[2u * row + 1u] = worth.y;
        }
    }
}
