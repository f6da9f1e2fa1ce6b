//! Attention of training by cooperative matrices: factors in f16, sums in f32.

use super::cases::{self, Example};
use super::{CausalHeads, FlashAttention, FlashAttentionBackwardKv, FlashAttentionBackwardQ};
use super::{FlashParams, Inputs};
use crate::ops::*;

/// [`FlashAttention`] with `qkv` in f16, as its gradients have it.
#[derive(Debug, Clone)]
pub struct FlashAttentionCoop(pub CausalHeads);

/// [`FlashAttentionBackwardQ`] with `qkv` and `d_out` in f16.
#[derive(Debug, Clone)]
pub struct FlashAttentionBackwardQCoop(pub CausalHeads);

/// [`FlashAttentionBackwardKv`] with `qkv` and `d_out` in f16.
#[derive(Debug, Clone)]
pub struct FlashAttentionBackwardKvCoop(pub CausalHeads);

/// A vector of four values, in which kernels count outputs.
const FOUR: usize = 4;

impl CausalHeads {
    /// Whether kernels with cooperative matrices take these heads: those of up to 256 values by eights. The halves of complex heads
    /// must end where matrices do.
    pub fn fit_matrices(&self) -> bool {
        (1..=256).contains(&self.head_dim)
            && self.head_dim.is_multiple_of(8)
            && (!self.complex || matches!(self.head_dim, 64 | 128 | 256))
    }

    /// Values of a head in workgroup memory.
    fn padded_head(&self) -> usize {
        self.head_dim.next_power_of_two().max(64)
    }

    /// Tokens of a workgroup of a backward pass.
    fn matrix_rows(&self) -> usize {
        64 * 64 / self.padded_head()
    }

    fn matrix_overrides(&self) -> Vec<(&'static str, f64)> {
        // scores are powers of two there
        let in_twos = |x: f32| f64::from(x) * std::f64::consts::LOG2_E;
        vec![
            ("HEAD_DIM", self.head_dim as f64),
            ("HEAD", self.padded_head() as f64),
            ("SOFTCAP", in_twos(self.softcap)),
            ("SCORE_SCALE", in_twos(self.scale)),
        ]
    }
}

/// Values in f16 as words of values in f32.
fn wide(words: &[u32]) -> Vec<f32> {
    let mut values = vec![0.0f32; 2 * words.len()];
    MatrixDtype::F16.decode(words, &mut values);
    values
}

impl Op for FlashAttentionCoop {
    const NAME: &'static str = "flash_attention_coop";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features { subgroup: true, ..Features::MATRIX }, train / "flash_attention_coop",
            "softcap",
            "flash",
            "quad",
            "coop_stage",
            "coop_stage_pair",
            "coop_rows",
            "coop_scores",
            "coop_values"
        ),
    ];
    const BINDINGS: &'static [Binding] = &[
        prefetched("qkv", Elem::U32),
        write("out", Elem::F32),
        write("lse", Elem::F32),
    ];
    // weights are rounded to f16, which is off by 2^-11 of each at most, and most of that cancels
    const AGREE: Agree = Agree::Nmse(1e-6);
    type Params = FlashParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> FlashParams {
        self.0.params(FOUR)
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let mut all = self.0.matrix_overrides();
        let windowed = self.0.window < self.0.tokens;
        all.push(("WINDOWED", u32::from(windowed).into()));
        all
    }

    fn grid(&self) -> Grid {
        let rows = if self.0.padded_head() == 256 { 64 } else { 128 };
        self.0.grid(rows, self.0.heads)
    }

    fn lengths(&self) -> Vec<usize> {
        let mut lengths = FlashAttention(self.0).lengths();
        lengths[0] /= 2;
        lengths
    }

    fn cost(&self) -> Cost {
        self.0.cost(2, 4 * self.lengths().iter().sum::<usize>())
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let qkv = wide(b.read(0));
        self.0.reference(&qkv, b.write(1), b.write(2));
    }

    fn cases() -> Vec<Case<Self>> {
        cases::matrices(|heads, x| (Self(heads), vec![x.halves(), x.room(), x.row_room()]))
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        use Made::{Halves, Zeros};
        cases::bench(|heads| (Self(heads), vec![Halves, Zeros, Zeros]))
    }
}

impl Op for FlashAttentionBackwardQCoop {
    const NAME: &'static str = "flash_attention_backward_q_coop";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features::MATRIX, train / "flash_attention_backward_q_coop",
            "softcap",
            "flash",
            "quad",
            "coop_stage",
            "coop_rows",
            "coop_gradients",
            "coop_pairs",
            "coop_own"
        ),
    ];
    const BINDINGS: &'static [Binding] = &[
        prefetched("qkv", Elem::U32),
        read("d_out", Elem::U32),
        read("out", Elem::F32),
        read("lse", Elem::F32),
        write("delta", Elem::F32),
        write("d_qkv", Elem::F32),
    ];
    // gradients of scores are rounded to f16, which is off by 2^-11 of each at most
    const AGREE: Agree = Agree::Nmse(1e-6);
    type Params = FlashParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> FlashParams {
        self.0.params(FOUR)
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.0.matrix_overrides()
    }

    fn grid(&self) -> Grid {
        self.0.grid(self.0.matrix_rows(), self.0.heads)
    }

    fn lengths(&self) -> Vec<usize> {
        let mut lengths = FlashAttentionBackwardQ(self.0).lengths();
        lengths[0] /= 2;
        lengths[1] /= 2;
        lengths
    }

    fn cost(&self) -> Cost {
        self.0.cost(3, 4 * self.lengths().iter().sum::<usize>())
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (qkv, d_out) = (wide(b.read(0)), wide(b.read(1)));
        let delta: &mut [f32] = b.write(4);
        self.0.deltas(b.read(2), &d_out, delta);
        let inputs = Inputs {
            qkv: &qkv,
            d_out: &d_out,
            lse: b.read(3),
            delta,
        };
        self.0.reference_q(&inputs, b.write(5));
    }

    fn cases() -> Vec<Case<Self>> {
        cases::matrices(|heads, x: &Example| {
            let mut data = vec![x.halves(), x.gradient_halves()];
            data.extend([&x.out, &x.lse].map(|v| Data::f32(v)));
            data.extend([x.row_room(), x.before()]);
            (Self(heads), data)
        })
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        use Made::{Floats, Halves, Zeros};
        let data = [Halves, Halves, Floats, Zeros, Zeros, Zeros];
        cases::bench(|heads| (Self(heads), data.to_vec()))
    }
}

impl Op for FlashAttentionBackwardKvCoop {
    const NAME: &'static str = "flash_attention_backward_kv_coop";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features::MATRIX, train / "flash_attention_backward_kv_coop",
            "softcap",
            "flash",
            "quad",
            "coop_stage",
            "coop_rows",
            "coop_gradients",
            "coop_pairs",
            "coop_own"
        ),
    ];
    const BINDINGS: &'static [Binding] = &[
        prefetched("qkv", Elem::U32),
        prefetched("d_out", Elem::U32),
        read("lse", Elem::F32),
        read("delta", Elem::F32),
        write("d_qkv", Elem::F32),
    ];
    // weights and gradients of scores are rounded to f16, which is off by 2^-11 of each at most
    const AGREE: Agree = Agree::Nmse(1e-6);
    type Params = FlashParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> FlashParams {
        self.0.params(FOUR)
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.0.matrix_overrides()
    }

    fn grid(&self) -> Grid {
        self.0.grid(self.0.matrix_rows(), self.0.kv_heads)
    }

    fn lengths(&self) -> Vec<usize> {
        let mut lengths = FlashAttentionBackwardKv(self.0).lengths();
        lengths[0] /= 2;
        lengths[1] /= 2;
        lengths
    }

    fn cost(&self) -> Cost {
        self.0.cost(4, 4 * self.lengths().iter().sum::<usize>())
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (qkv, d_out) = (wide(b.read(0)), wide(b.read(1)));
        let inputs = Inputs {
            qkv: &qkv,
            d_out: &d_out,
            lse: b.read(2),
            delta: b.read(3),
        };
        self.0.reference_kv(&inputs, b.write(4));
    }

    fn cases() -> Vec<Case<Self>> {
        cases::matrices(|heads, x: &Example| {
            let mut data = vec![x.halves(), x.gradient_halves()];
            data.extend([&x.lse, &x.delta].map(|v| Data::f32(v)));
            data.push(x.before());
            (Self(heads), data)
        })
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        use Made::{Halves, Zeros};
        cases::bench(|heads| (Self(heads), vec![Halves, Halves, Zeros, Zeros, Zeros]))
    }
}
