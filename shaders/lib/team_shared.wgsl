// Largest values and sums over the workgroup, through workgroup memory: a stand-in for team_subgroup.wgsl.
// The kernel declares WIDTH and needs wide.wgsl. Every invocation must come along.

var<workgroup> team_slots: array<vec4<u32>, WIDTH>;

// the largest value of the workgroup, component by component
fn group_max(index: u32, value: vec2<u32>) -> vec2<u32> {
    team_slots[index] = vec4(value, 0u, 0u);
    workgroupBarrier();
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if index < step {
            team_slots[index] = max(team_slots[index], team_slots[index + step]);
        }
        workgroupBarrier();
    }
    let top = team_slots[0].xy;
    workgroupBarrier();
    return top;
}

// everybody's part of a sum that all may want after the next barrier
fn leave_sums(index: u32, small: vec2<i32>, large: vec2<u32>) {
    team_slots[index] = vec4(vec2<u32>(small), large);
}

// by the whole workgroup, after a barrier
fn left_sums(index: u32) -> vec4<u32> {
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if index < step {
            let a = team_slots[index];
            let b = team_slots[index + step];
            team_slots[index] = vec4(a.xy + b.xy, wide_add(a.zw, b.zw));
        }
        workgroupBarrier();
    }
    return team_slots[0];
}
