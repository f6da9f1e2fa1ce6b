// The place of the best (key, place) of a workgroup, in workgroup memory. The kernel declares WIDTH and best_of.

var<workgroup> best: array<vec2<u32>, WIDTH>;

// for invocation 0
fn place_of_best(lane: u32, mine: vec2<u32>) -> u32 {
    best[lane] = mine;
    workgroupBarrier();
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if lane < step {
            best[lane] = best_of(best[lane], best[lane + step]);
        }
        workgroupBarrier();
    }
    return best[0].y;
}
