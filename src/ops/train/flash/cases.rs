//! Heads that attention of training is checked and timed on, forward and back.

use super::CausalHeads;
use crate::ops::attention::default_scale;
use crate::ops::bench::case as bench_case;
use crate::ops::*;

/// Contents of the bindings of one case: noise, and what attention makes of it.
pub(super) struct Example {
    pub qkv: Vec<f32>,
    pub d_out: Vec<f32>,
    pub out: Vec<f32>,
    pub lse: Vec<f32>,
    pub delta: Vec<f32>,
    /// Largest magnitude of what is where gradients will be.
    before: f32,
}

impl Example {
    /// Queries, keys and values up to `amplitude`. Where kernels take them in f16, all values are such.
    fn new(heads: &CausalHeads, amplitude: f32, half: bool) -> Self {
        let made = |seed, len, amplitude| match half {
            false => noise(seed, len, amplitude),
            true => {
                let each = noise(seed, len, amplitude).into_iter();
                each.map(|v| half::f16::from_f32(v).to_f32()).collect()
            }
        };
        let mut x = Self {
            qkv: made(81, heads.qkv_values(), amplitude),
            d_out: made(82, heads.out_values(), 1.0),
            out: vec![0.0; heads.out_values()],
            lse: vec![0.0; heads.row_values()],
            delta: vec![0.0; heads.row_values()],
            // where tokens see themselves alone, gradients are 0, and computed ones are rounding errors
            before: if heads.window.min(heads.tokens) == 1 {
                1.0
            } else {
                1e-3
            },
        };
        heads.reference(&x.qkv, &mut x.out, &mut x.lse);
        heads.deltas(&x.out, &x.d_out, &mut x.delta);
        x
    }

    /// Room for outputs.
    pub(super) fn room(&self) -> Data {
        Data::Out(self.out.len())
    }

    /// Room for one value of each token and head.
    pub(super) fn row_room(&self) -> Data {
        Data::Out(self.lse.len())
    }

    /// What is where gradients will be, some of which stays.
    pub(super) fn before(&self) -> Data {
        Data::f32(&noise(83, self.qkv.len(), self.before))
    }

    pub(super) fn halves(&self) -> Data {
        Data::Words(MatrixDtype::F16.encode(&self.qkv))
    }

    pub(super) fn gradient_halves(&self) -> Data {
        Data::Words(MatrixDtype::F16.encode(&self.d_out))
    }
}

/// All tokens of whole sequences: [n_seqs, tokens, heads, kv_heads, head_dim].
pub(super) fn heads([n_seqs, tokens, heads, kv_heads, head_dim]: [usize; 5]) -> CausalHeads {
    CausalHeads {
        n_seqs,
        tokens,
        heads,
        kv_heads,
        head_dim,
        complex: false,
        scale: default_scale(head_dim, false),
        window: usize::MAX,
        softcap: 0.0,
    }
}

fn complex(heads: CausalHeads) -> CausalHeads {
    CausalHeads {
        complex: true,
        scale: default_scale(heads.head_dim, true),
        ..heads
    }
}

fn windowed(window: usize, softcap: f32, heads: CausalHeads) -> CausalHeads {
    CausalHeads {
        window,
        softcap,
        ..heads
    }
}

/// Sizes that end within tiles, one token, shared keys, heads of many sizes, windows and capped scores, complex heads; and
/// scores of which later ones are so much larger that sums must be made smaller.
fn shapes() -> Vec<(&'static str, CausalHeads, f32)> {
    let plain = |sizes| ("", heads(sizes), 2.0);
    let of = |heads: CausalHeads| ("", heads, 2.0);
    let growing = |heads| ("scores=growing", heads, 8.0);
    vec![
        plain([1, 1, 1, 1, 8]),
        plain([2, 37, 4, 2, 6]),
        plain([1, 70, 2, 1, 64]),
        plain([2, 150, 6, 2, 64]),
        plain([1, 130, 2, 1, 128]),
        plain([1, 50, 3, 3, 48]),
        plain([2, 33, 2, 1, 80]),
        plain([1, 65, 2, 2, 96]),
        plain([1, 40, 4, 2, 256]),
        plain([3, 20, 2, 2, 40]),
        of(complex(heads([2, 37, 4, 2, 12]))),
        of(complex(heads([2, 70, 4, 2, 64]))),
        of(complex(heads([1, 33, 2, 1, 128]))),
        of(complex(heads([1, 20, 3, 1, 256]))),
        of(windowed(20, 0.7, heads([1, 150, 2, 1, 64]))),
        of(windowed(1, 0.0, heads([1, 70, 2, 1, 16]))),
        of(windowed(70, 1.5, heads([1, 140, 2, 1, 128]))),
        of(windowed(33, 0.0, heads([2, 90, 2, 1, 256]))),
        growing(heads([1, 140, 2, 1, 64])),
        growing(windowed(50, 0.0, heads([1, 140, 2, 1, 128]))),
    ]
}

/// A case for every one of these heads.
pub(super) fn plain<O: Op>(make: impl Fn(CausalHeads, &Example) -> (O, Vec<Data>)) -> Vec<Case<O>> {
    made(&make, false, |_| true)
}

/// The same for kernels with cooperative matrices.
pub(super) fn matrices<O: Op>(
    make: impl Fn(CausalHeads, &Example) -> (O, Vec<Data>),
) -> Vec<Case<O>> {
    made(&make, true, CausalHeads::fit_matrices)
}

fn made<O: Op>(
    make: &impl Fn(CausalHeads, &Example) -> (O, Vec<Data>),
    half: bool,
    fit: impl Fn(&CausalHeads) -> bool,
) -> Vec<Case<O>> {
    let shapes = shapes().into_iter().filter(|shape| fit(&shape.1));
    let each = shapes.map(|(note, heads, amplitude)| {
        let (op, data) = make(heads, &Example::new(&heads, amplitude, half));
        Case::new(note, op, data)
    });
    each.collect()
}

/// The shapes of TinyLlama, SmolLM2-135M, LLaMA-2-7B and of heads of 256 values in micro-batches of 8,192 tokens, and a context of as
/// many.
pub(super) fn bench<O: Op>(make: impl Fn(CausalHeads) -> (O, Vec<Made>)) -> Vec<BenchCase<O>> {
    let sizes = [
        [4, 2048, 32, 4, 64],
        [4, 2048, 9, 3, 64],
        [4, 2048, 32, 32, 128],
        [4, 2048, 8, 4, 256],
        [1, 8192, 32, 4, 64],
    ];
    let each = sizes.map(|sizes| {
        let (op, data) = make(heads(sizes));
        bench_case("", op, &data)
    });
    each.into()
}
