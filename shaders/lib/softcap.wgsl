// Soft caps of attention scores. The kernel declares the override SOFTCAP; 0 caps nothing and costs nothing.
// Requires: SOFTCAP
// Provides: softcap_of

// SOFTCAP * tanh(scores / SOFTCAP), as exact in small scores as in large ones: drivers' own tanh is not, and some overflow
fn softcap_of(scores: vec4<f32>) -> vec4<f32> {
    var capped = scores;
    if SOFTCAP > 0.0 {
        let x = scores / max(SOFTCAP, 1e-30);
        let squares = min(x * x, vec4(1.0));
        let slope = squares * (squares * (squares * (squares * 0.021869489 - 0.053968254) + 0.13333333) - 0.33333333);
        let e = exp(-2.0 * abs(x));
        capped = SOFTCAP * select(sign(x) * ((1.0 - e) / (1.0 + e)), x + x * slope, squares < vec4(0.09));
    }
    return capped;
}
