// What the gradients of attention in training share: weights and gradients of scores, values of gradients, and where sums go.
// The kernel declares the override SOFTCAP.
// Requires: d_out, d_qkv, flash_values_at, flash_values_out, flash_values_row, p, softcap_of, SOFTCAP
// Provides: GRADIENT, flash_at, flash_gradient, flash_gradient_write

const GRADIENT = 3u;

// value j of what a query head has of `kind` at a token
fn flash_at(head: u32, kind: u32, token: u32, j: u32) -> f32 {
    if kind != GRADIENT {
        return flash_values_at(head, kind, token, j);
    }
    let inside = token < p.tokens && j < p.head_dim;
    return select(0.0, d_out[select(0u, flash_values_out(head, token, j), inside)], inside);
}

// Weights, and the gradients of four products of queries and keys, from those and from products of gradients and values.
fn flash_gradient(
    products: vec4<f32>,
    others: vec4<f32>,
    log_sum: vec4<f32>,
    delta: vec4<f32>,
    seen: vec4<bool>,
) -> mat2x4<f32> {
    let s = softcap_of(products * p.scale);
    let weight = select(vec4(0.0), exp(s - log_sum), seen);
    var slope = vec4(1.0);
    if SOFTCAP > 0.0 {
        slope -= (s / max(SOFTCAP, 1e-30)) * (s / max(SOFTCAP, 1e-30));
    }
    return mat2x4(weight, slope * weight * (others - delta));
}

// What an invocation has of the rows from `place.z` on, from value `place.w` on, times a factor, to the gradient of what query
// head `place.x` has of kind `place.y`.
fn flash_gradient_write(lane: u32, place: vec4<u32>, sums: mat2x4<f32>, factor: f32) {
    var rows = sums;
    for (var r = 0u; r < 2u; r++) {
        let token = place.z + lane / 8u + 16u * r;
        let begin = flash_values_row(place.x, place.y, token);
        for (var c = 0u; c < 4u; c++) {
            let j = place.w + lane % 8u * 4u + c;
            if token < p.tokens && j < p.head_dim {
                d_qkv[begin + j] = rows[r][c] * factor;
            }
        }
    }
}
