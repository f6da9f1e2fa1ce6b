// The place of the best (key, place) of a workgroup, by way of subgroups: the largest key, then its first place.

var<workgroup> most: atomic<u32>;
var<workgroup> first: atomic<u32>;

// for all invocations
fn place_of_best(lane: u32, mine: vec2<u32>) -> u32 {
    if lane == 0u {
        atomicStore(&most, 0u);
        atomicStore(&first, 0xffffffffu);
    }
    workgroupBarrier();
    let speaks = subgroupBroadcastFirst(lane) == lane;
    let key = subgroupMax(mine.x);
    if speaks {
        atomicMax(&most, key);
    }
    workgroupBarrier();
    let place = subgroupMin(select(0xffffffffu, mine.y, mine.x == atomicLoad(&most)));
    if speaks {
        atomicMin(&first, place);
    }
    workgroupBarrier();
    return atomicLoad(&first);
}
