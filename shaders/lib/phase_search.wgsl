// The nearest sum of stages, as src/ops/calibrate/search.rs finds it.
// Requires: phase_value, scales, STAGES
// Provides: stage_scales, phase_load_scales, phase_code_of, phase_sum, phase_solved, phase_nearest_sum

struct Nearest {
    code: u32,     // of stage t at bits 2 t
    distance: f32, // squared
}

// the scales of the stages of U, then of W
var<private> stage_scales: array<vec2<f32>, 8>;

fn phase_load_scales(first: u32) {
    for (var i = 0u; i < 2u * STAGES; i++) {
        stage_scales[i] = vec2(scales[first + 2u * i], scales[first + 2u * i + 1u]);
    }
}

// The codes of the index-th sum; the first stage changes slowest.
fn phase_code_of(index: u32) -> u32 {
    var code = 0u;
    for (var t = 0u; t < STAGES; t++) {
        code |= ((index >> (2u * (STAGES - 1u - t))) & 3u) << (2u * t);
    }
    return code;
}

// The sum that codes of U (first = 0) or W (first = STAGES) stand for.
fn phase_sum(code: u32, first: u32) -> vec2<f32> {
    var sum = vec2(0.0);
    for (var t = 0u; t < STAGES; t++) {
        sum += phase_value((code >> (2u * t)) & 3u, stage_scales[first + t]);
    }
    return sum;
}

// The code on the real or the imaginary axis that lies on the side of e.
fn phase_solved(e: vec2<f32>, real: bool) -> u32 {
    return select(select(3u, 1u, e.y >= 0.0), select(2u, 0u, e.x >= 0.0), real);
}

// Tries every choice of the stages but the last one, which it solves.
fn phase_nearest_sum(z: vec2<f32>, first: u32) -> Nearest {
    let last = STAGES - 1u;
    let s = stage_scales[first + last];
    var best = Nearest(0u, 3.0e38);
    for (var prefix = 0u; prefix < (1u << (2u * last)); prefix++) {
        var e = z;
        var code = 0u;
        for (var t = 0u; t < last; t++) {
            let k = (prefix >> (2u * (last - t) - 2u)) & 3u;
            e -= phase_value(k, stage_scales[first + t]);
            code |= k << (2u * t);
        }
        let gain = s * (s - 2.0 * abs(e));
        let real = gain.x <= gain.y;
        let distance = dot(e, e) + select(gain.y, gain.x, real);
        if distance < best.distance {
            best = Nearest(code | (phase_solved(e, real) << (2u * last)), distance);
        }
    }
    return best;
}
