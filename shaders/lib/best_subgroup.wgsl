// The index of a workgroup's best (key, index), by way of subgroups: the largest key, then the first index that has it.
// Provides: best_index

var<workgroup> best_key: atomic<u32>;
var<workgroup> best_first: atomic<u32>;

// what all invocations bring together; all of them get the index
fn best_index(lane: u32, mine: vec2<u32>) -> u32 {
    if lane == 0u {
        atomicStore(&best_key, 0u);
        atomicStore(&best_first, 0xffffffffu);
    }
    workgroupBarrier();
    let speaks = subgroupBroadcastFirst(lane) == lane;
    let key = subgroupMax(mine.x);
    if speaks {
        atomicMax(&best_key, key);
    }
    workgroupBarrier();
    let index = subgroupMin(select(0xffffffffu, mine.y, mine.x == atomicLoad(&best_key)));
    if speaks {
        atomicMin(&best_first, index);
    }
    workgroupBarrier();
    return atomicLoad(&best_first);
}
