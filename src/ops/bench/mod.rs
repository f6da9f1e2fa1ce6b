//! Inputs of realistic size for the bench: layers of LLaMA-2-7B, a context of 4096, vocabularies as they are.
//!
//! Nothing here is compared with a reference; buffers are filled on the device.

use crate::ops::attention::{Attention, Heads, Rope};
use crate::ops::attention::{AttentionMerge, AttentionSplit, Ranges};
use crate::ops::matmul::MatmulGemmCoop;
use crate::ops::matmul::{Dense, MatmulGemm, MatmulGemv};
use crate::ops::memory::Copy;
use crate::ops::memory::Noise;
use crate::ops::phase::{PhaseGemm, PhaseGemmFloat, PhaseGemv, PhaseGemvFloat, PhaseShape};
use crate::ops::quantize::{Activations, FakeQuant, QuantizeAct};
use crate::ops::sampling::{Argmax, TopK};
use crate::ops::{BenchCase, Made, MatrixDtype, Op, hash32};
use crate::ops::{activation::SwiGlu, embedding::TokenEmbed, norm::RmsNorm};
use Made::{Bits, Floats, Halves, Words, Zeros};

mod fused;
mod quantizing;
mod training;

pub(super) use fused::*;
pub(super) use quantizing::*;
pub(super) use training::*;

fn case<O: Op>(note: impl Into<String>, op: O, data: &[Made]) -> BenchCase<O> {
    BenchCase {
        note: note.into(),
        op,
        data: data.to_vec(),
    }
}

/// Tokens of a prompt that is processed at once.
const PROMPT: usize = 512;
/// Workgroups and ranges, as on the GPU that these shapes were measured on.
const PROCESSORS: usize = 132;
const RANGES: Ranges = Ranges {
    groups: 512,
    least: 128,
};
/// Positions in the cache.
const DEPTH: usize = 4096;
const HIDDEN: usize = 4096;
const INTERMEDIATE: usize = 11_008;
const VOCAB: usize = 32_000;
const STEPS: [(&str, usize); 2] = [("decode", 1), ("prompt of 512", PROMPT)];

/// The linear layers of a block and the head: name, outputs of the stacked layers, inputs.
fn layers() -> Vec<(&'static str, Vec<usize>, usize)> {
    vec![
        ("qkv 3 x 4096 x 4096", vec![HIDDEN; 3], HIDDEN),
        ("o 4096 x 4096", vec![HIDDEN], HIDDEN),
        ("gate_up 2 x 11008 x 4096", vec![INTERMEDIATE; 2], HIDDEN),
        ("down 4096 x 11008", vec![HIDDEN], INTERMEDIATE),
        ("head 32000 x 4096", vec![VOCAB], HIDDEN),
    ]
}

/// Every layer with two stages and scales per tensor.
fn phase_shapes(rows: usize) -> Vec<(&'static str, PhaseShape)> {
    let shape = |(name, segments, in_features): (_, Vec<usize>, _)| {
        let shape = PhaseShape {
            piece_rows: segments.iter().map(|s| s.div_ceil(2)).sum(),
            segments,
            in_features,
            stages: 2,
            per_row: false,
            group_words: usize::MAX,
            first_row: 0,
            accumulate: false,
            rows,
        };
        (name, shape)
    };
    let mut all: Vec<_> = layers().into_iter().map(shape).collect();
    if rows > 1 {
        all.pop(); // of a prompt, the head sees one token
    }
    all
}

const MODES: [(&str, Activations); 2] = [("a16", Activations::Int16), ("a8", Activations::Int8)];

fn integer<O: Op>(rows: usize, op: impl Fn(PhaseShape, Activations) -> O) -> Vec<BenchCase<O>> {
    let mut cases = Vec::new();
    for (mode_name, mode) in MODES {
        for (name, shape) in phase_shapes(rows) {
            let data = [Bits, Bits, Floats, Zeros, Zeros];
            cases.push(case(format!("{name}, {mode_name}"), op(shape, mode), &data));
        }
    }
    cases
}

fn float<O: Op>(rows: usize, op: impl Fn(PhaseShape) -> O) -> Vec<BenchCase<O>> {
    let cases = phase_shapes(rows).into_iter();
    let data = [Bits, Floats, Floats, Zeros];
    cases
        .map(|(name, shape)| case(name, op(shape), &data))
        .collect()
}

pub(super) fn phase_gemv() -> Vec<BenchCase<PhaseGemv>> {
    integer(1, |shape, mode| PhaseGemv { shape, mode })
}

pub(super) fn phase_gemm() -> Vec<BenchCase<PhaseGemm>> {
    integer(PROMPT, |shape, mode| PhaseGemm { shape, mode })
}

pub(super) fn phase_gemv_float() -> Vec<BenchCase<PhaseGemvFloat>> {
    float(1, |shape| PhaseGemvFloat { shape })
}

pub(super) fn phase_gemm_float() -> Vec<BenchCase<PhaseGemmFloat>> {
    float(PROMPT, |shape| PhaseGemmFloat { shape })
}

/// f16 matrices.
fn dense(rows: usize, outs: usize, k: usize) -> Dense {
    Dense {
        rows,
        k,
        outs,
        out_offset: 0,
        y_stride: outs,
        stored: MatrixDtype::F16,
        accumulate: false,
    }
}

pub(super) fn matmul_gemv() -> Vec<BenchCase<MatmulGemv>> {
    let each = |(name, segments, k): (_, Vec<usize>, _)| {
        let op = MatmulGemv(dense(1, segments.iter().sum(), k));
        case(format!("{name}, f16"), op, &[Floats, Halves, Zeros])
    };
    layers().into_iter().map(each).collect()
}

/// Products of many rows.
fn products() -> [(&'static str, Dense); 3] {
    [
        (
            "prompt of 512, 4096 x 4096, f16",
            dense(PROMPT, HIDDEN, HIDDEN),
        ),
        (
            "prompt of 512, 4096 x 11008, f16",
            dense(PROMPT, HIDDEN, INTERMEDIATE),
        ),
        ("4096^3, f16", dense(4096, 4096, 4096)),
    ]
}

pub(super) fn matmul_gemm() -> Vec<BenchCase<MatmulGemm>> {
    products()
        .map(|(name, dense)| case(name, MatmulGemm(dense), &[Floats, Halves, Zeros]))
        .into()
}

pub(super) fn matmul_gemm_coop() -> Vec<BenchCase<MatmulGemmCoop>> {
    products()
        .map(|(name, dense)| {
            let op = MatmulGemmCoop::plain(dense);
            case(name, op, &[Halves, Halves, Zeros])
        })
        .into()
}

fn act_shapes() -> Vec<(String, usize, usize, Activations)> {
    let mut all = Vec::new();
    for (step, rows) in STEPS {
        for columns in [HIDDEN, INTERMEDIATE] {
            for (name, mode) in MODES {
                all.push((format!("{step}, {columns}, {name}"), rows, columns, mode));
            }
        }
    }
    all
}

pub(super) fn quantize_act() -> Vec<BenchCase<QuantizeAct>> {
    let each = |(name, rows, columns, mode)| {
        let op = QuantizeAct {
            rows,
            columns,
            mode,
        };
        case::<QuantizeAct>(name, op, &[Floats, Zeros, Zeros])
    };
    act_shapes().into_iter().map(each).collect()
}

pub(super) fn fake_quant() -> Vec<BenchCase<FakeQuant>> {
    let each = |(name, rows, columns, mode)| {
        let op = FakeQuant {
            rows,
            columns,
            mode,
        };
        case::<FakeQuant>(name, op, &[Floats, Zeros])
    };
    act_shapes().into_iter().map(each).collect()
}

/// Steps that end at the full depth, with one key head per query head and with a quarter of that.
fn heads() -> Vec<(String, Heads)> {
    let mut all = Vec::new();
    for (step, rows) in STEPS {
        for kv_heads in [32, 8] {
            let heads = Heads {
                rows,
                heads: 32,
                kv_heads,
                head_dim: 128,
                position: DEPTH - rows,
                kv: crate::ops::Kv::F16,
                first: 0,
                offset: 0,
            };
            all.push((format!("{step} at depth 4096, {kv_heads} kv heads"), heads));
        }
    }
    all
}

pub(super) fn rope() -> Vec<BenchCase<Rope>> {
    let data = [Floats, Floats, Zeros, Zeros];
    let all = heads().into_iter();
    all.map(|(name, h)| case(name, Rope(h), &data)).collect()
}

pub(super) fn attention() -> Vec<BenchCase<Attention>> {
    let data = [Floats, Floats, Floats, Zeros];
    let all = heads().into_iter();
    all.map(|(name, h)| case(name, Attention(h), &data))
        .collect()
}

/// Those steps that are split.
fn split_heads() -> impl Iterator<Item = (String, Heads, usize)> {
    let all = heads()
        .into_iter()
        .map(|(name, h)| (name, h, h.splits(RANGES)));
    all.filter(|(.., splits)| *splits > 1)
}

pub(super) fn attention_split() -> Vec<BenchCase<AttentionSplit>> {
    let data = [Floats, Floats, Floats, Zeros];
    split_heads()
        .map(|(name, heads, splits)| case(name, AttentionSplit { heads, splits }, &data))
        .collect()
}

pub(super) fn attention_merge() -> Vec<BenchCase<AttentionMerge>> {
    split_heads()
        .map(|(name, heads, splits)| case(name, AttentionMerge { heads, splits }, &[Floats, Zeros]))
        .collect()
}

pub(super) fn token_embed() -> Vec<BenchCase<TokenEmbed>> {
    let each = |(step, rows): (&str, usize)| {
        let op = TokenEmbed {
            rows,
            hidden: HIDDEN,
            stored: MatrixDtype::F16,
            row_words: MatrixDtype::F16.words(HIDDEN),
            first_row: 0,
            table_rows: VOCAB,
            ids_from: 0,
        };
        let ids = (0..rows as u32).map(|i| hash32(i, 3) % VOCAB as u32);
        case(step, op, &[Halves, Words(ids.collect()), Zeros])
    };
    STEPS.map(each).into()
}

pub(super) fn rms_norm() -> Vec<BenchCase<RmsNorm>> {
    let each = |(step, rows)| {
        let op = RmsNorm {
            rows,
            n: HIDDEN,
            eps: 1e-5,
        };
        case(step, op, &[Floats, Floats, Zeros])
    };
    STEPS.map(each).into()
}

pub(super) fn swi_glu() -> Vec<BenchCase<SwiGlu>> {
    let n = INTERMEDIATE;
    let each = |(step, rows)| case(step, SwiGlu { rows, n }, &[Floats, Zeros]);
    STEPS.map(each).into()
}

pub(super) fn argmax() -> Vec<BenchCase<Argmax>> {
    let each = |(name, n)| case(name, Argmax { rows: 1, n, to: 0 }, &[Floats, Zeros]);
    [
        ("vocabulary of 32000", VOCAB),
        ("vocabulary of 128256", 128_256),
    ]
    .map(each)
    .into()
}

pub(super) fn top_k() -> Vec<BenchCase<TopK>> {
    let each = |(name, rows, n)| {
        let op = TopK { rows, n, k: 40 };
        case(name, op, &[Floats, Zeros, Zeros])
    };
    [
        ("vocabulary of 32000, k 40", 1, VOCAB),
        ("vocabulary of 128256, k 40", 1, 128_256),
        ("8 rows of a vocabulary of 32000, k 40", 8, VOCAB),
    ]
    .map(each)
    .into()
}

/// Words of a large buffer.
const WORDS: usize = 64 << 20;

pub(super) fn copy() -> Vec<BenchCase<Copy>> {
    vec![case("256 MiB", Copy { quads: WORDS / 4 }, &[Bits, Zeros])]
}

pub(super) fn noise() -> Vec<BenchCase<Noise>> {
    vec![case("256 MiB", Noise::bits(WORDS, 1), &[Zeros])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Visitor, for_each};

    struct Check(usize);

    impl Visitor for Check {
        fn visit<O: Op>(&mut self) {
            for case in O::bench_cases() {
                let lengths = case.op.lengths();
                assert_eq!(
                    case.data.len(),
                    lengths.len(),
                    "{}, {}",
                    O::NAME,
                    case.name()
                );
                for (made, words) in case.data.iter().zip(lengths) {
                    if let Words(given) = made {
                        assert!(given.len() >= words, "{}, {}", O::NAME, case.name());
                    }
                }
                assert!(case.op.cost().bytes > 0.0, "{}, {}", O::NAME, case.name());
                self.0 += 1;
            }
        }
    }

    #[test]
    fn every_binding_is_filled() {
        let mut check = Check(0);
        for_each(&mut check);
        assert!(check.0 > 60, "{}", check.0);
    }
}
