//! Causal attention of many consecutive tokens by cooperative matrices.

use super::{Attention, Heads, Positions};
use crate::ops::*;

mod cases;

/// [`Attention`] of a run of one sequence, over a cache in f16 with queries and weights in f16 too, scores and sums in f32.
///
/// A workgroup reads every key once for 128 tokens, or 64 where heads have more than 128 values: that is why they must be a run, whose
/// keys are the same but for the last few. Bindings are those of [`Attention`] without the row table.
#[derive(Debug, Clone)]
pub struct AttentionCoop(pub Heads);

params! {
    /// Uniform block of [`AttentionCoop`].
    pub struct AttentionCoopParams {
        tokens: u32,
        heads: u32,
        kv_heads: u32,
        position: u32,
        window: u32,
        scale: f32,
        out_pitch: u32,
        out_gap: u32,
        base: u32,
        capacity: u32,
        offset: u32,
    }
}

impl AttentionCoop {
    /// Values of a head in workgroup memory.
    fn padded_head(&self) -> usize {
        self.0.head_dim.next_power_of_two().max(64)
    }

    /// Tokens of a workgroup.
    fn tile(&self) -> usize {
        if self.padded_head() == 256 { 64 } else { 128 }
    }

    /// Whether the kernel takes these heads: those of a cache in f16, of up to 256 values by eights. The halves of complex heads
    /// must end where matrices do.
    pub fn fits(heads: &Heads) -> bool {
        heads.kv == Kv::F16
            && (1..=256).contains(&heads.head_dim)
            && heads.head_dim.is_multiple_of(8)
            && (!heads.complex || matches!(heads.head_dim, 64 | 128 | 256))
            && matches!(heads.positions, Positions::Run { .. })
    }
}

impl Op for AttentionCoop {
    const NAME: &'static str = "attention_coop";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features { subgroup: true, ..Features::MATRIX }, attention / "attention_coop",
            "softcap",
            "ring",
            "quad",
            "coop_stage",
            "coop_stage_pair",
            "coop_stage_cache",
            "coop_scores",
            "coop_values"
        ),
    ];
    const BINDINGS: &'static [Binding] = &[
        read("qkv", Elem::F32),
        prefetched("k_cache", Elem::U32),
        prefetched("v_cache", Elem::U32),
        write("out", Elem::F32),
    ];
    // Queries have 11 bits: a score of 8 is off by 2e-3, its weight by as much of itself, most of which cancels in the mean.
    const AGREE: Agree = Agree::Nmse(1e-5);
    type Params = AttentionCoopParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> AttentionCoopParams {
        let h = &self.0;
        let (slot, position) = h.place(&[], 0);
        let [out_pitch, out_gap] = h.out_params(4);
        AttentionCoopParams {
            tokens: h.tokens as u32,
            heads: h.heads as u32,
            kv_heads: h.kv_heads as u32,
            position: position as u32,
            window: h.window_param(),
            scale: (f64::from(h.scale) * std::f64::consts::LOG2_E) as f32,
            out_pitch,
            out_gap,
            base: (slot * h.capacity) as u32,
            capacity: h.capacity as u32,
            offset: h.offset as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let h = &self.0;
        // scores are powers of two there
        let softcap = f64::from(h.softcap) * std::f64::consts::LOG2_E;
        vec![
            ("HEAD_DIM", h.head_dim as f64),
            ("HEAD", self.padded_head() as f64),
            ("WINDOWED", u32::from(h.window < h.end()).into()),
            ("SOFTCAP", softcap),
            ("RING", u32::from(h.wraps()).into()),
        ]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.0.tokens.div_ceil(self.tile()) * self.0.heads) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let mut lengths = Attention(self.0).lengths();
        lengths.remove(1);
        lengths
    }

    fn cost(&self) -> Cost {
        Attention(self.0).cost()
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let mut with_table = Bindings::new();
        with_table.push_read(b.read(0));
        with_table.push_read(&[]);
        with_table.push_read(b.read(1));
        with_table.push_read(b.read(2));
        with_table.push_write(b.write(3));
        Attention(self.0).reference(&mut with_table);
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
