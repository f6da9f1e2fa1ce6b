// What the logistic function is applied to in a gate.
// Provides: gelu_argument, gelu_slope

override GELU: u32 = 0u; // 1: GELU approximated by tanh instead of SiLU

// A gate g becomes g * sigmoid(gelu_argument(g)).
fn gelu_argument(g: f32) -> f32 {
    if GELU == 0u {
        return g;
    }
    return 1.5957691 * g * (1.0 + 0.044715 * g * g);
}

// The derivative of gelu_argument.
fn gelu_slope(g: f32) -> f32 {
    if GELU == 0u {
        return 1.0;
    }
    return 1.5957691 * (1.0 + 0.134145 * g * g);
}
