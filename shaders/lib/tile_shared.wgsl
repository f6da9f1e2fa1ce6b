// Largest values and sums over the workgroup, through workgroup memory: a stand-in for tile_subgroup.wgsl where subgroups
// are missing. Every invocation must call each function.
// Requires: wide_add, CONJ, WIDTH
// Provides: tile_group_max, tile_leave_sum, tile_left_sum

override WIDTH_IM = 1u + CONJ * (WIDTH - 1u);

var<workgroup> tile_values: array<vec2<u32>, WIDTH>;
var<workgroup> tile_values_im: array<u32, WIDTH_IM>;

// The largest value of the workgroup, component by component; the third one with CONJ only.
fn tile_group_max(index: u32, value: vec3<u32>) -> vec3<u32> {
    tile_values[index] = value.xy;
    if CONJ == 1u {
        tile_values_im[index] = value.z;
    }
    workgroupBarrier();
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if index < step {
            tile_values[index] = max(tile_values[index], tile_values[index + step]);
            if CONJ == 1u {
                tile_values_im[index] = max(tile_values_im[index], tile_values_im[index + step]);
            }
        }
        workgroupBarrier();
    }
    var top = vec3(tile_values[0], 0u);
    if CONJ == 1u {
        top.z = tile_values_im[0];
    }
    workgroupBarrier();
    return top;
}

// Leaves an invocation's share of a sum of 64 bits, which tile_left_sum gives everybody behind the next barrier.
fn tile_leave_sum(index: u32, part: vec2<u32>) {
    tile_values[index] = part;
}

// The sum of what was left, for the whole workgroup, behind a barrier.
fn tile_left_sum(index: u32) -> vec2<u32> {
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if index < step {
            tile_values[index] = wide_add(tile_values[index], tile_values[index + step]);
        }
        workgroupBarrier();
    }
    return tile_values[0];
}
