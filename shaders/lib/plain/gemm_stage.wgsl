// The plain stand-in for ../gemm_stage.wgsl: a loop over what there is to bring.

fn gemm_stage(w: u32, first_token: u32, index: u32) {
    let parts = 2u * BYTES;
    for (var i = index; i < TOKENS * parts * STEP; i += WIDTH) {
        let word = w + i % STEP;
        let part = i / STEP % parts;
        let token = first_token + i / (STEP * parts);
        var value = vec4(0u);
        if word < p.words && token < p.tokens {
            value = q[(token * parts + part) * p.words + word];
        }
        tile[i] = value;
    }
}
