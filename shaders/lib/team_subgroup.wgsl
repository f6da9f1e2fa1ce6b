// Largest values and sums over the workgroup, by way of teams of TEAM invocations of one subgroup.
// The kernel declares WIDTH, TEAM and needs wide.wgsl or wide64.wgsl. TEAM divides the subgroup's size.

override TEAM_SLOTS = WIDTH / TEAM;

var<workgroup> team_tops: array<vec2<u32>, TEAM_SLOTS>;
var<workgroup> team_sums: array<vec4<u32>, TEAM_SLOTS>;

fn team_max(value: vec2<u32>) -> vec2<u32> {
    var top = value;
    for (var step = TEAM / 2u; step > 0u; step /= 2u) {
        top = max(top, subgroupShuffleXor(top, step));
    }
    return top;
}

// two 32-bit integers and one of 64 bits
fn team_sum(value: vec4<u32>) -> vec4<u32> {
    var sum = value;
    for (var step = TEAM / 2u; step > 0u; step /= 2u) {
        let other = subgroupShuffleXor(sum, step);
        sum = vec4(sum.xy + other.xy, wide_add(sum.zw, other.zw));
    }
    return sum;
}

// the largest value of the workgroup, component by component
fn group_max(index: u32, value: vec2<u32>) -> vec2<u32> {
    let top = team_max(value);
    if index % TEAM == 0u {
        team_tops[index / TEAM] = top;
    }
    workgroupBarrier();
    var all = vec2(0u);
    for (var i = index % TEAM; i < TEAM_SLOTS; i += TEAM) {
        all = max(all, team_tops[i]);
    }
    return team_max(all);
}

// everybody's part of a sum that somebody may want after the next barrier
fn leave_sums(index: u32, small: vec2<i32>, large: vec2<u32>) {
    let sum = team_sum(vec4(vec2<u32>(small), large));
    if index % TEAM == 0u {
        team_sums[index / TEAM] = sum;
    }
}

// by all of a team, after a barrier
fn left_sums(index: u32) -> vec4<u32> {
    var all = vec4(0u);
    for (var i = index % TEAM; i < TEAM_SLOTS; i += TEAM) {
        all = vec4(all.xy + team_sums[i].xy, wide_add(all.zw, team_sums[i].zw));
    }
    return team_sum(all);
}
