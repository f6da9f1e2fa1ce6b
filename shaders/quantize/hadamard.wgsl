// Computes: y = H D x, or x = D H y back: H the orthonormal Walsh-Hadamard matrix of each block, D signs by column
// Inputs: rows of `width` values, one after the other
// Work split: one workgroup owns 1024 consecutive values, which are whole blocks; in a round, an invocation owns two pairs
// Shapes: x, y [len] f32

struct Params {
    len: u32,
    width: u32,
    half: u32,   // columns from here on have the signs of the first ones again
    block: u32,  // a power of two, at most 1024, that divides half if it is above 1
    scale: f32,  // 1 / sqrt(block)
    inverse: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const WIDTH = 256u;
const EACH = 4u;
const SPAN = WIDTH * EACH;
const SEED = 0x68646d64u;

var<workgroup> values: array<f32, SPAN>;

// 1 or -1
fn sign_of(index: u32) -> f32 {
    let column = index % p.width;
    let j = select(column, column - p.half, column >= p.half);
    return select(1.0, -1.0, (hash32(j, SEED) & 1u) == 1u);
}

@compute @workgroup_size(WIDTH)
fn hadamard(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let base = (wg.x + wg.y * nwg.x) * SPAN;
    for (var k = 0u; k < EACH; k++) {
        let i = lane + k * WIDTH;
        var value = 0.0;
        if base + i < p.len {
            value = x[base + i];
            if p.inverse == 0u {
                value *= sign_of(base + i);
            }
        }
        values[i] = value;
    }
    for (var step = 1u; step < p.block; step <<= 1u) {
        workgroupBarrier();
        for (var k = 0u; k < EACH / 2u; k++) {
            let pair = lane + k * WIDTH;
            let first = 2u * (pair - pair % step) + pair % step;
            let a = values[first];
            let b = values[first + step];
            values[first] = a + b;
            values[first + step] = a - b;
        }
    }
    workgroupBarrier();
    for (var k = 0u; k < EACH; k++) {
        let i = lane + k * WIDTH;
        if base + i < p.len {
            var value = values[i] * p.scale;
            if p.inverse == 1u {
                value *= sign_of(base + i);
            }
            y[base + i] = value;
        }
    }
}
