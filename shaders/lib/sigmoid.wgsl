// The logistic function.
// Provides: sigmoid

// 1 / (1 + exp(-v)). exp of minus the magnitude never overflows, so no infinity meets another.
fn sigmoid(v: f32) -> f32 {
    let e = exp(-abs(v));
    return select(e, 1.0, v >= 0.0) / (1.0 + e);
}
