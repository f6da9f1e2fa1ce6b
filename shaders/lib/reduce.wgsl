// Sums over a workgroup of 256 invocations.
// Provides: reduce_parts, reduce_sum

var<workgroup> reduce_parts: array<f32, 256>;

// The sum of every invocation's value, for all of them; all must call it together.
fn reduce_sum(lane: u32, value: f32) -> f32 {
    workgroupBarrier(); // an earlier sum may still be being read
    reduce_parts[lane] = value;
    workgroupBarrier();
    for (var step = 128u; step > 0u; step /= 2u) {
        if lane < step {
            reduce_parts[lane] += reduce_parts[lane + step];
        }
        workgroupBarrier();
    }
    return reduce_parts[0];
}
