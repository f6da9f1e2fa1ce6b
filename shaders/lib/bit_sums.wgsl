// Sums of bit planes and byte planes in workgroup memory: what the subgroups that share rows bring together, and the
// integers that they make.
// Requires: BYTES, HAS_1, HAS_2, HAS_3, NB, PARTS, PLANE_STEP, ROWS, WIDTH
// Provides: sums, bit_clear_totals, bit_add_totals, bit_integer, bit_total

override LENGTH_SUMS = 256u * ROWS * PARTS;

var<workgroup> sums: array<f32, LENGTH_SUMS>;   // of a plane: [part][8 rows][bit, row][byte plane]
var<workgroup> totals: array<atomic<i32>, 32u>; // of the byte planes

fn bit_clear_totals(index: u32) {
    for (var i = index; i < 32u; i += WIDTH) {
        atomicStore(&totals[i], 0i);
    }
}

// Adds what an invocation, `member` of its part, summed of its byte planes.
fn bit_add_totals(member: u32, total: vec4<i32>) {
    let plane = member / 8u;
    if plane < 16u * NB {
        atomicAdd(&totals[plane], total.x);
    }
    if HAS_1 && plane + PLANE_STEP < 16u * NB {
        atomicAdd(&totals[plane + PLANE_STEP], total.y);
    }
    if HAS_2 && plane + 2u * PLANE_STEP < 16u * NB {
        atomicAdd(&totals[plane + 2u * PLANE_STEP], total.z);
    }
    if HAS_3 && plane + 3u * PLANE_STEP < 16u * NB {
        atomicAdd(&totals[plane + 3u * PLANE_STEP], total.w);
    }
}

// A sum over all parts. `scale` turns the float that stood for a bit into 1.
fn bit_sum_at(index: u32, scale: f32) -> i32 {
    var sum = sums[index];
    for (var k = 1u; k < PARTS; k++) {
        sum += sums[index + k * ROWS * 256u];
    }
    return i32(sum * scale);
}

// The sum over a token's integers, from the sums of its byte planes, the first of which lies at `index`.
fn bit_integer(index: u32, scale: f32) -> i32 {
    let high = bit_sum_at(index, scale);
    if BYTES == 2u {
        return high * 256 + bit_sum_at(index + 1u, scale);
    }
    return high;
}

// The sum of all integers of half a token whose first byte plane is `plane`.
fn bit_total(plane: u32) -> i32 {
    let high = atomicLoad(&totals[plane]);
    if BYTES == 2u {
        return high * 256 + atomicLoad(&totals[plane + 1u]);
    }
    return high;
}
