// Staging of activations for phase_gemm.wgsl. An invocation brings at most one word: a loop that some invocations never
// enter would make FXC (Direct3D's compiler) take the barrier behind it for one in varying control flow.
// The stand-in without this trick is plain/gemm_stage.wgsl; both give the same bits.
// Requires: p, q, tile, BYTES, STEP, TOKENS
// Provides: gemm_stage

// Stages STEP words from word w on of all tokens of the tile; what lies beyond the row or the tokens is zero.
fn gemm_stage(w: u32, first_token: u32, index: u32) {
    let parts = 2u * BYTES;
    let word = w + index % STEP;
    let part = index / STEP % parts;
    let token = first_token + index / (STEP * parts);
    if index < TOKENS * parts * STEP {
        var value = vec4(0u);
        if word < p.words && token < p.tokens {
            value = q[(token * parts + part) * p.words + word];
        }
        tile[index] = value;
    }
}
