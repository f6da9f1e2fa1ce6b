// The form of the quantized layers that read a token (src/ops/quantize/form.rs).
// Provides: CONJ

override CONJ: u32; // 1: conjugate, with a scale for each half of a token; 0: widely-linear, with one scale for a token
