// Sums within a team of TEAM invocations and within the workgroup, through workgroup memory.
// The kernel declares WIDTH, TEAM and needs wide.wgsl. Every invocation must come along.

var<workgroup> team_slots: array<vec4<u32>, WIDTH>;

// sum over the team of pairs of 64-bit numbers, for its first invocation
fn team_sum(index: u32, value: vec4<u32>) -> vec4<u32> {
    workgroupBarrier();
    team_slots[index] = value;
    workgroupBarrier();
    for (var step = TEAM / 2u; step > 0u; step /= 2u) {
        if index % TEAM < step {
            let a = team_slots[index];
            let b = team_slots[index + step];
            team_slots[index] = vec4(wide_add(a.xy, b.xy), wide_add(a.zw, b.zw));
        }
        workgroupBarrier();
    }
    return team_slots[index];
}

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

// the sum over the workgroup of two 32-bit integers and one of 64 bits
fn group_sum(index: u32, small: vec2<i32>, large: vec2<u32>) -> vec4<u32> {
    team_slots[index] = vec4(vec2<u32>(small), large);
    workgroupBarrier();
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if index < step {
            let a = team_slots[index];
            let b = team_slots[index + step];
            team_slots[index] = vec4(a.xy + b.xy, wide_add(a.zw, b.zw));
        }
        workgroupBarrier();
    }
    let sum = team_slots[0];
    workgroupBarrier();
    return sum;
}
