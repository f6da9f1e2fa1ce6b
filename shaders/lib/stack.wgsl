// The uniform block of the phase products, and where a complex row of a stack of layers goes.
// Provides: Params, NOWHERE, stack_place

struct Params {
    tokens: u32,      // tokens
    in_features: u32, // real inputs
    words: u32,       // packed words of a row of one plane
    group_words: u32, // words that share scales
    groups: u32,      // groups of a row
    per_row: u32,     // a scale block for each row (1) or for each layer (0)
    first_row: u32,   // of the bound shard, in the stack
    shard_rows: u32,  // complex rows of the shard
    accumulate: u32,  // y += (1) or y = (0)
    outputs: u32,     // real outputs of the stack
    outs0: u32,       // real outputs of each layer; 0 where there is none
    outs1: u32,
    outs2: u32,
    quarter: u32,     // vec4s in half a token, for kernels that round the token
    eps_n: f32,       // n times the norm's eps, where the sum of squares is divided by n
    root_n: f32,      // sqrt(n)
    normed: u32,      // 1: and normalize it first
    gated: u32,       // 1: rows of two layers, gate and up, make one result
    slots: u32,       // rows of a workgroup
    n_absmax_partials: u32, // magnitudes of a token, whose maximum is that of all its values
    half_run: u32,    // complex rows whose real parts lie together, then their imaginary parts; 0: all of a layer
}

override RUNS: u32 = 0u; // 1: p.half_run is not 0

const NOWHERE = 0xffffffffu;

// (scale block, index of the real part in a row of y, index of the imaginary part or NOWHERE)
fn stack_place(p: Params, row: u32) -> vec3<u32> {
    var outs = p.outs0;
    var start = 0u;
    var base = 0u;
    var segment = 0u;
    let end0 = (p.outs0 + 1u) / 2u;
    let end1 = end0 + (p.outs1 + 1u) / 2u;
    if row >= end1 {
        segment = 2u;
        start = end1;
        base = p.outs0 + p.outs1;
        outs = p.outs2;
    } else if row >= end0 {
        segment = 1u;
        start = end0;
        base = p.outs0;
        outs = p.outs1;
    }
    let local = row - start;
    let im = (outs + 1u) / 2u + local;
    let scale_block = select(segment, row, p.per_row == 1u);
    if RUNS == 1u {
        let re = base + local + local / p.half_run * p.half_run;
        return vec3(scale_block, re, re + p.half_run);
    }
    return vec3(scale_block, base + local, select(NOWHERE, base + im, im < outs));
}
