// Sums within a team of TEAM invocations of one subgroup, and within the workgroup.
// The kernel declares WIDTH, TEAM and needs wide.wgsl or wide64.wgsl. TEAM divides the subgroup's size.

override TEAM_SLOTS = WIDTH / TEAM;

var<workgroup> team_slots: array<vec4<u32>, TEAM_SLOTS>;

// sum over the team of pairs of 64-bit numbers, for all of it
fn team_sum(index: u32, value: vec4<u32>) -> vec4<u32> {
    var sum = value;
    for (var step = TEAM / 2u; step > 0u; step /= 2u) {
        let other = subgroupShuffleXor(sum, step);
        sum = vec4(wide_add(sum.xy, other.xy), wide_add(sum.zw, other.zw));
    }
    return sum;
}

// the largest value of the workgroup, component by component
fn group_max(index: u32, value: vec2<u32>) -> vec2<u32> {
    var top = value;
    for (var step = TEAM / 2u; step > 0u; step /= 2u) {
        top = max(top, subgroupShuffleXor(top, step));
    }
    if index % TEAM == 0u {
        team_slots[index / TEAM] = vec4(top, 0u, 0u);
    }
    workgroupBarrier();
    for (var i = 0u; i < TEAM_SLOTS; i++) {
        top = max(top, team_slots[i].xy);
    }
    workgroupBarrier();
    return top;
}

// the sum over the workgroup of two 32-bit integers and one of 64 bits
fn group_sum(index: u32, small: vec2<i32>, large: vec2<u32>) -> vec4<u32> {
    var sum = vec4(vec2<u32>(small), large);
    for (var step = TEAM / 2u; step > 0u; step /= 2u) {
        let other = subgroupShuffleXor(sum, step);
        sum = vec4(sum.xy + other.xy, wide_add(sum.zw, other.zw));
    }
    if index % TEAM == 0u {
        team_slots[index / TEAM] = sum;
    }
    workgroupBarrier();
    sum = vec4(0u);
    for (var i = 0u; i < TEAM_SLOTS; i++) {
        let other = team_slots[i];
        sum = vec4(sum.xy + other.xy, wide_add(sum.zw, other.zw));
    }
    return sum;
}
