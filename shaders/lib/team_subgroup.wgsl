// Largest values and sums over the workgroup, by way of teams of TEAM invocations of one subgroup.
// The kernel declares WIDTH, TEAM and needs wide.wgsl or wide64.wgsl. TEAM divides the subgroup's size.
//
// All invocations take every step of a loop before something is asked of a subgroup: behind a loop that they leave one
// by one drivers may ask those who left together, and nobody else.

override TEAM_SLOTS = WIDTH / TEAM;

var<workgroup> team_tops: array<vec2<u32>, TEAM_SLOTS>;
var<workgroup> team_sums: array<vec2<u32>, TEAM_SLOTS>;

fn team_sum(value: vec2<u32>) -> vec2<u32> {
    var sum = value;
    for (var step = TEAM / 2u; step > 0u; step /= 2u) {
        sum = wide_add(sum, subgroupShuffleXor(sum, step));
    }
    return sum;
}

// the largest value of the workgroup, component by component
fn group_max(index: u32, value: vec2<u32>) -> vec2<u32> {
    let top = subgroupMax(value); // of several teams where subgroups are larger
    if index % TEAM == 0u {
        team_tops[index / TEAM] = top;
    }
    workgroupBarrier();
    var all = vec2(0u);
    for (var first = 0u; first < TEAM_SLOTS; first += TEAM) {
        all = max(all, team_tops[min(first + index % TEAM, TEAM_SLOTS - 1u)]);
    }
    return subgroupMax(all);
}

// everybody's part of a sum of 64 bits that somebody may want after the next barrier
fn leave_sum(index: u32, part: vec2<u32>) {
    let sum = team_sum(part);
    if index % TEAM == 0u {
        team_sums[index / TEAM] = sum;
    }
}

// by all of a team, after a barrier
fn left_sum(index: u32) -> vec2<u32> {
    var all = vec2(0u);
    for (var first = 0u; first < TEAM_SLOTS; first += TEAM) {
        let i = first + index % TEAM;
        all = wide_add(all, select(vec2(0u), team_sums[min(i, TEAM_SLOTS - 1u)], i < TEAM_SLOTS));
    }
    return team_sum(all);
}
