//! Gradients of attention in its keys and values.

use super::forward::TILE;
use super::{CausalHeads, FlashParams, Inputs, cases};
use crate::ops::*;

/// The gradients of [`FlashAttention`](super::FlashAttention) in its keys and values, each a sum over the query heads of its
/// key/value head, in their order, and over their tokens.
///
/// Bindings: `qkv`, `d_out`, `lse`, `delta` and `d_qkv` as [`FlashAttentionBackwardQ`](super::FlashAttentionBackwardQ) has them; of
/// the last, the columns of keys and values are written.
#[derive(Debug, Clone)]
pub struct FlashAttentionBackwardKv(pub CausalHeads);

impl Op for FlashAttentionBackwardKv {
    const NAME: &'static str = "flash_attention_backward_kv";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "flash_attention_backward_kv",
        "softcap",
        "flash",
        "flash_values",
        "flash_gradient",
        "flash_tile"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("qkv", Elem::F32),
        read("d_out", Elem::F32),
        read("lse", Elem::F32),
        read("delta", Elem::F32),
        write("d_qkv", Elem::F32),
    ];
    // as that of queries
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
        self.0.grid(TILE, self.0.kv_heads)
    }

    fn lengths(&self) -> Vec<usize> {
        let h = &self.0;
        let (qkv, rows) = (h.qkv_values(), h.row_values());
        vec![qkv, h.out_values(), rows, rows, qkv]
    }

    fn cost(&self) -> Cost {
        self.0.cost(4, 4 * self.lengths().iter().sum::<usize>())
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let inputs = inputs(b);
        self.0.reference_kv(&inputs, b.write(4));
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let inputs = inputs(b);
        self.0.attend_backward_kv(&inputs, b.write(4));
    }

    fn cases() -> Vec<Case<Self>> {
        cases::plain(|heads, x| {
            let inputs = [&x.qkv, &x.d_out, &x.lse, &x.delta];
            let mut data = inputs.map(|v| Data::f32(v)).to_vec();
            data.push(x.before());
            (Self(heads), data)
        })
    }
}

fn inputs<'a>(b: &Bindings<'a>) -> Inputs<'a> {
    Inputs {
        qkv: b.read(0),
        d_out: b.read(1),
        lse: b.read(2),
        delta: b.read(3),
    }
}
