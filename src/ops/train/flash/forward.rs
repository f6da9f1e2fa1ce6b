//! Attention of whole sequences, and the logarithm of the sum of each row's weights.

use super::{CausalHeads, FlashParams, cases};
use crate::ops::*;

/// Causal attention, `out = softmax(scores) v`, which keeps `lse`, the logarithm of the sum that weights are divided by, in place
/// of the weights.
///
/// Bindings: `qkv` [n_seqs, tokens, (heads + 2 kv_heads) head_dim] f32; `out` [n_seqs, tokens, heads head_dim] f32; `lse`
/// [n_seqs, heads, tokens] f32. [`CausalHeads`] says how heads lie.
#[derive(Debug, Clone)]
pub struct FlashAttention(pub CausalHeads);

/// Tokens of a workgroup.
pub(super) const TILE: usize = 32;

impl Op for FlashAttention {
    const NAME: &'static str = "flash_attention";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "flash_attention",
        "softcap",
        "flash",
        "flash_values",
        "flash_tile"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("qkv", Elem::F32),
        write("out", Elem::F32),
        write("lse", Elem::F32),
    ];
    // as `attention`: in f32 a score of 64 is off by up to 1e-5, and its weight by as much of itself
    const AGREE: Agree = Agree::Nmse(1e-10);
    type Params = FlashParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> FlashParams {
        self.0.params(1)
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.0.overrides()
    }

    fn grid(&self) -> Grid {
        self.0.grid(TILE, self.0.heads)
    }

    fn lengths(&self) -> Vec<usize> {
        let h = &self.0;
        vec![h.qkv_values(), h.out_values(), h.row_values()]
    }

    fn cost(&self) -> Cost {
        self.0.cost(2, 4 * self.lengths().iter().sum::<usize>())
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        self.0.reference(b.read(0), b.write(1), b.write(2));
    }

    fn host(&self, b: &mut Bindings<'_>) {
        self.0.attend(b.read(0), b.write(1), b.write(2));
    }

    fn cases() -> Vec<Case<Self>> {
        cases::plain(|heads, x| (Self(heads), vec![Data::f32(&x.qkv), x.room(), x.row_room()]))
    }
}
