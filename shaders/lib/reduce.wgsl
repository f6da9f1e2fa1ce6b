// Sums over a workgroup of 256 invocations.

var<workgroup> reduce_parts: array<f32, 256>;

// the sum of every invocation's value, in all of them; call it in uniform control flow
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
