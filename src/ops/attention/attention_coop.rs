//! Causal attention of many rows by cooperative matrices.

use super::{Attention, Heads};
use crate::ops::*;
use bytemuck::Zeroable;

/// Rows of a workgroup.
const ROWS: usize = 128;

/// [`Attention`] over a cache in f16 with queries and weights in f16 too, scores and sums in f32.
///
/// Bindings as there.
#[derive(Debug, Clone)]
pub struct AttentionCoop(pub Heads);

/// Uniform block of [`AttentionCoop`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct AttentionCoopParams {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    position: u32,
    scale: f32,
    first: u32,
    offset: u32,
}

impl AttentionCoop {
    /// Whether the kernel takes these heads.
    pub fn fits(heads: &Heads) -> bool {
        heads.kv == Kv::F16 && matches!(heads.head_dim, 64 | 128)
    }
}

impl Op for AttentionCoop {
    const NAME: &'static str = "attention_coop";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features { subgroup: true, ..Features::MATRIX }, attention / "attention_coop",
            "coop_attend",
            "quad"
        ),
    ];
    const BINDINGS: &'static [Binding] = &[
        read("qkv", Elem::F32),
        prefetched("k_cache", Elem::U32),
        prefetched("v_cache", Elem::U32),
        write("out", Elem::F32),
    ];
    // queries of 11 bits: a score of 8 is off by 2e-3, its weight by as much of itself, mostly cancelling in the mean
    const AGREE: Agree = Agree::Nmse(1e-5);
    type Params = AttentionCoopParams;

    fn params(&self) -> AttentionCoopParams {
        let h = &self.0;
        AttentionCoopParams {
            rows: h.rows as u32,
            heads: h.heads as u32,
            kv_heads: h.kv_heads as u32,
            position: h.position as u32,
            scale: ((h.head_dim as f64).powf(-0.5) * std::f64::consts::LOG2_E) as f32,
            first: h.first as u32,
            offset: h.offset as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("HEAD", self.0.head_dim as f64)]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.0.rows.div_ceil(ROWS) * self.0.heads) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        Attention(self.0).lengths()
    }

    fn cost(&self) -> Cost {
        Attention(self.0).cost()
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        Attention(self.0).reference(b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::attention_coop()
    }

    fn cases() -> Vec<Case<Self>> {
        let scaled =
            |name: &str, q: f32, [rows, heads, kv_heads, head_dim, position, first]: [usize; 6]| {
                // every shape that begins in the middle of a cache begins in the middle of a pass, too
                let offset = first.min(5);
                let h = Heads {
                    rows,
                    heads,
                    kv_heads,
                    head_dim,
                    position,
                    kv: Kv::F16,
                    first,
                    offset,
                };
                let cache = (first + h.positions() + 2) * h.cache_row();
                let kept = |seed| Data::u32(&h.kv.encode(&noise(seed, cache, 1.0)));
                let data = vec![
                    Data::f32(&noise(58, (offset + rows) * h.qkv_row(), q)),
                    kept(59),
                    kept(60),
                    Data::Out((offset + rows) * heads * head_dim),
                ];
                Case::new(name, Self(h), data)
            };
        let case = |name: &str, sizes| scaled(name, 2.0, sizes);
        vec![
            case("one tile", [64, 2, 2, 64, 0, 0]),
            case("heads of 128, grouped", [70, 4, 1, 128, 0, 0]),
            case("few rows, far on", [17, 2, 1, 64, 333, 0]),
            case("a later text", [100, 2, 2, 64, 5, 130]),
            case("three tiles of rows", [300, 2, 1, 128, 40, 3]),
            // later scores are so much larger that sums must be made smaller
            scaled("growing scores", 32.0, [140, 2, 1, 128, 200, 0]),
            scaled("growing scores of 64", 32.0, [40, 2, 2, 64, 200, 0]),
        ]
    }
}
