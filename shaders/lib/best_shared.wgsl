// The index of a workgroup's best (key, index), in workgroup memory. The kernel declares WIDTH and best_of.
// Requires: best_of, WIDTH
// Provides: best_index

var<workgroup> best_pairs: array<vec2<u32>, WIDTH>;

// what all invocations bring together; invocation 0 gets the index
fn best_index(lane: u32, mine: vec2<u32>) -> u32 {
    best_pairs[lane] = mine;
    workgroupBarrier();
    for (var step = WIDTH / 2u; step > 0u; step /= 2u) {
        if lane < step {
            best_pairs[lane] = best_of(best_pairs[lane], best_pairs[lane + step]);
        }
        workgroupBarrier();
    }
    return best_pairs[0].y;
}
