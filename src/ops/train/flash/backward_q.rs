//! Gradient of attention in its queries.

use super::forward::TILE;
use super::{CausalHeads, FlashParams, Inputs, cases};
use crate::ops::*;

/// The gradient of [`FlashAttention`](super::FlashAttention) in its queries, and `delta`, the product of each token's output with
/// its gradient, which [`FlashAttentionBackwardKv`](super::FlashAttentionBackwardKv) needs too.
///
/// Bindings: `qkv`, `d_out`, `out` and `lse` as there, `d_out` lies as `out`; `delta` [n_seqs, heads, tokens] f32; `d_qkv` as `qkv`,
/// of which the columns of queries are written.
#[derive(Debug, Clone)]
pub struct FlashAttentionBackwardQ(pub CausalHeads);

impl Op for FlashAttentionBackwardQ {
    const NAME: &'static str = "flash_attention_backward_q";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "flash_attention_backward_q",
        "softcap",
        "flash",
        "flash_values",
        "flash_gradient",
        "flash_tile"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("qkv", Elem::F32),
        read("d_out", Elem::F32),
        read("out", Elem::F32),
        read("lse", Elem::F32),
        write("delta", Elem::F32),
        write("d_qkv", Elem::F32),
    ];
    // weights are off as in the forward pass, and the difference from delta cancels a few bits
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
        let (qkv, out, rows) = (h.qkv_values(), h.out_values(), h.row_values());
        vec![qkv, out, out, rows, rows, qkv]
    }

    fn cost(&self) -> Cost {
        self.0.cost(3, 4 * self.lengths().iter().sum::<usize>())
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let delta: &mut [f32] = b.write(4);
        self.0.deltas(b.read(2), b.read(1), delta);
        self.0.reference_q(&inputs(b, delta), b.write(5));
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let delta: &mut [f32] = b.write(4);
        self.0.deltas_in_lanes(b.read(2), b.read(1), delta);
        self.0.attend_backward_q(&inputs(b, delta), b.write(5));
    }

    fn cases() -> Vec<Case<Self>> {
        cases::plain(|heads, x| {
            let [qkv, d_out, out, lse] = [&x.qkv, &x.d_out, &x.out, &x.lse].map(|v| Data::f32(v));
            let data = vec![qkv, d_out, out, lse, x.row_room(), x.before()];
            (Self(heads), data)
        })
    }
}

fn inputs<'a>(b: &Bindings<'a>, delta: &'a [f32]) -> Inputs<'a> {
    Inputs {
        qkv: b.read(0),
        d_out: b.read(1),
        lse: b.read(3),
        delta,
    }
}
