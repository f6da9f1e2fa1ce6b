// Computes: q = round_half_even(x * levels / max(absmax, 1e-5)) per row, in integers, so that every device agrees; a row is a
//           token, or one half of it where halves have scales of their own
// Inputs: x
// Work split: one workgroup owns WIDTH words of one row; each workgroup of a row finds the row's absmax for itself
// Shapes: x [rows, columns] f32; q [rows, parts, byte planes, plane_words] u32 of 4 bytes; absmax [rows] f32, as bits

struct Params {
    rows: u32,        // tokens, or their halves
    columns: u32,     // values of a row
    parts: u32,       // halves of a token in a row
    half: u32,        // complex columns
    plane_words: u32, // words of one byte plane
    slices: u32,      // workgroups of a row
    levels: u32,      // 32767 (two planes) or 127 (one plane)
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> q: array<u32>;
@group(0) @binding(3) var<storage, read_write> absmax: array<u32>;

const WIDTH = 256u;

var<workgroup> lane_absmax: array<u32, WIDTH>;

// The rounded integer of complex column c, in a part of the row: of a token, part 0 is real, part 1 imaginary.
fn rounded(base: u32, part: u32, c: u32, top: u32) -> i32 {
    let i = part * p.half + c;
    if c >= p.half || i >= p.columns {
        return 0;
    }
    let bits = bitcast<u32>(x[base + i]);
    let value = i32(round_quotient(bits & 0x7fffffffu, top, p.levels));
    return select(value, -value, (bits >> 31u) == 1u);
}

@compute @workgroup_size(WIDTH)
fn quantize_act(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let row = group / p.slices;
    let slice = group % p.slices;
    if row >= p.rows {
        return;
    }
    let base = row * p.columns;
    var top = LEAST;
    for (var i = lane; i < p.columns; i += WIDTH) {
        top = max(top, bitcast<u32>(x[base + i]) & 0x7fffffffu);
    }
    lane_absmax[lane] = top;
    workgroupBarrier();
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if lane < step {
            lane_absmax[lane] = max(lane_absmax[lane], lane_absmax[lane + step]);
        }
        workgroupBarrier();
    }
    top = lane_absmax[0];
    if lane == 0u && slice == 0u {
        absmax[row] = top;
    }
    let i = slice * WIDTH + lane;
    if i >= p.parts * p.plane_words {
        return;
    }
    let part = i / p.plane_words;
    let word = i % p.plane_words;
    var high = 0u;
    var low = 0u;
    for (var j = 0u; j < 4u; j++) {
        let value = u32(rounded(base, part, 4u * word + j, top));
        low |= (value & 0xffu) << (8u * j);
        high |= ((value >> 8u) & 0xffu) << (8u * j);
    }
    if p.levels > 127u {
        let at = (row * p.parts + part) * 2u * p.plane_words + word;
        q[at] = high;
        q[at + p.plane_words] = low;
    } else {
        q[(row * p.parts + part) * p.plane_words + word] = low;
    }
}
