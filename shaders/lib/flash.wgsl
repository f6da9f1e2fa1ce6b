// The uniform block of attention in training, which all of its kernels share. Heads are counted through all sequences.
// Provides: Params

struct Params {
    n_seqs: u32,
    tokens: u32,    // of a sequence
    heads: u32,     // query heads of a sequence
    kv_heads: u32,
    head_dim: u32,
    window: u32,    // positions that a token sees at most
    scale: f32,     // of scores
    out_pitch: u32, // of outputs: from head to head, in values, or in vec4s where kernels take cooperative matrices
    out_gap: u32,   // and between the halves of a head
}
