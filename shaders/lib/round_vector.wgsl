// One token's activations, normalized if asked for, rounded to integers by a workgroup; every step is exact.
// docs/notes/round_vector.md has the layout, the bit budget and the reasons.
//
// The kernel says what happens to the results: `put(plane, word, bytes)` takes four bytes of a byte plane,
// `leave_totals(index, sums)` the sums of an invocation's integers, re and im. `plane_words()` counts the words of a byte
// plane, `normed()` asks for the norm. The field p.quarter counts vec4s in half a token, p.eps_n and p.root_n are constants
// of the norm.
// Requires: leave_totals, normed, plane_words, put, round_advance, round_eight, round_grid, round_inverse_rms,
//    round_packed, round_squares, round_steps, tile_leave_sum, tile_left_sum, wide_add, BYTES, CONJ, Eight,
//    LEAST, Token, WIDTH
// Provides: Rounding, round_vector, round_factor

const FAINT = 0x0d800000u; // bits of 2^-100: below, a vector counts as zero

// What is known of a token as soon as its integers are.
struct Rounding {
    largest: u32,   // bits of the largest |x|
    top: vec2<u32>, // bits of the largest |x * w|, which becomes the largest integer: with CONJ of each half, else .x of all
}

// Four bytes of each byte plane of a half (0 real, 1 imaginary).
fn round_put_four(half: u32, word: u32, v: vec4<i32>) {
    if BYTES == 1u {
        put(half, word, round_packed(vec4<u32>(v + 128)) ^ 0x80808080u);
        return;
    }
    let u = vec4<u32>(v + 32768);
    let high = round_packed(u >> vec4(8u));
    put(2u * half, word, high ^ 0x80808080u);
    put(2u * half + 1u, word, round_packed(u) - 256u * high);
}

// Hands out the token's integers; round_factor may follow behind a barrier. `own` is this invocation's share of the token,
// `absmax` what round_absmax finds over the whole token.
fn round_vector(index: u32, token: u32, own: Token, absmax: vec3<u32>) -> Rounding {
    let r = Rounding(absmax.x, max(absmax.yz, vec2(select(LEAST, FAINT, normed()))));
    let twice = bitcast<f32>((276u - max(absmax.x, FAINT) / 0x800000u) << 23u); // 2^(23 - e) where x is not faint
    let grid = round_grid(r.top.x);
    var grid_im = grid;
    if CONJ == 1u {
        grid_im = round_grid(r.top.y);
    }
    var t = own;
    var sum = vec2(0u);
    var totals = vec2(0i);
    for (var k = index; k < plane_words(); k += WIDTH) {
        var v = t.x0;
        if normed() {
            sum = wide_add(sum, wide_add(round_squares(v.a, twice), round_squares(v.b, twice)));
            v = Eight(v.a * t.w0.a, v.b * t.w0.b);
        }
        let q = round_eight(v, grid, grid_im);
        round_put_four(0u, k, q[0]);
        round_put_four(1u, k, q[1]);
        totals += vec2((q[0].x + q[0].y) + (q[0].z + q[0].w), (q[1].x + q[1].y) + (q[1].z + q[1].w));
        if round_steps() == 1u {
            break; // The compiler knows this, and makes no loop.
        }
        t = round_advance(t, token, k);
    }
    leave_totals(index, totals);
    if normed() {
        tile_leave_sum(index, sum);
    }
    return r;
}

// Bits of the f32 that one integer step is worth, times the levels: with CONJ of the real half and of the imaginary one, else
// .x of all values. A whole tile must call it together, with `index` within the tile or the workgroup; with tile_shared.wgsl
// the whole workgroup must.
fn round_factor(index: u32, r: Rounding) -> vec2<u32> {
    var factor = bitcast<vec2<f32>>(r.top);
    if normed() {
        let sum = tile_left_sum(index);
        let faint = r.largest < FAINT;
        factor *= round_inverse_rms(select(sum, vec2(0u), faint), i32(r.largest >> 23u) - 126);
    }
    return bitcast<vec2<u32>>(factor);
}
