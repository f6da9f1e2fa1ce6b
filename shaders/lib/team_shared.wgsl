// Largest values and sums over the workgroup, through workgroup memory: a stand-in for team_subgroup.wgsl.
// The kernel declares WIDTH and needs wide.wgsl. Every invocation must come along.

var<workgroup> team_slots: array<vec2<u32>, WIDTH>;

// the largest value of the workgroup, component by component
fn group_max(index: u32, value: vec2<u32>) -> vec2<u32> {
    team_slots[index] = value;
    workgroupBarrier();
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if index < step {
            team_slots[index] = max(team_slots[index], team_slots[index + step]);
        }
        workgroupBarrier();
    }
    let top = team_slots[0];
    workgroupBarrier();
    return top;
}

// everybody's part of a sum of 64 bits that all may want after the next barrier
fn leave_sum(index: u32, part: vec2<u32>) {
    team_slots[index] = part;
}

// by the whole workgroup, after a barrier
fn left_sum(index: u32) -> vec2<u32> {
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if index < step {
            team_slots[index] = wide_add(team_slots[index], team_slots[index + step]);
        }
        workgroupBarrier();
    }
    return team_slots[0];
}
