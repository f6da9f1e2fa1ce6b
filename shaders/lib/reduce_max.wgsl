// The largest value over a workgroup of 256 invocations.
// Requires: reduce_parts
// Provides: reduce_max

// The largest of every invocation's value, for all of them; all must call it together.
fn reduce_max(lane: u32, value: f32) -> f32 {
    workgroupBarrier(); // an earlier result may still be being read
    reduce_parts[lane] = value;
    workgroupBarrier();
    for (var step = 128u; step > 0u; step /= 2u) {
        if lane < step {
            reduce_parts[lane] = max(reduce_parts[lane], reduce_parts[lane + step]);
        }
        workgroupBarrier();
    }
    return reduce_parts[0];
}
