//! Weights on their way to codes and back.

use super::Made::*;
use super::{BenchCase, HIDDEN, Made, case};
use crate::ops::Op;
use crate::ops::quantize::{BaselineMean, BaselinePack, BaselineSum, BaselineUnpack, Rows};
use crate::ops::quantize::{
    Granularity, LEAST_SCALE, PhaseMean, PhasePack, PhaseScale, PhaseUnpack, Piece,
};
use crate::ops::quantize::{WidelyLinearMerge, WidelyLinearSplit};

const SQUARE: &str = "4096 x 4096";

pub(in crate::ops) fn widely_linear_split() -> Vec<BenchCase<WidelyLinearSplit>> {
    let op = WidelyLinearSplit {
        out_features: HIDDEN,
        in_features: HIDDEN,
    };
    vec![case(SQUARE, op, &[Floats, Zeros])]
}

pub(in crate::ops) fn widely_linear_merge() -> Vec<BenchCase<WidelyLinearMerge>> {
    let op = WidelyLinearMerge {
        out_features: HIDDEN,
        in_features: HIDDEN,
    };
    vec![case(SQUARE, op, &[Floats, Zeros])]
}

/// Weights whose magnitudes are those of [`Made::Floats`]: of attention, and the largest of a block.
fn weights() -> [(&'static str, Piece); 2] {
    let piece = |rows| Piece::whole(rows, HIDDEN, Granularity::Tensor, 2, -4);
    [(SQUARE, piece(HIDDEN)), ("11008 x 4096", piece(11_008))]
}

pub(in crate::ops) fn phase_scale() -> Vec<BenchCase<PhaseScale>> {
    let each = |(name, piece)| {
        [0, 1].map(|stage| {
            let op = PhaseScale { piece, stage };
            let name = format!("{name}, stage {stage}");
            case(name, op, &[Floats, Floats, Zeros])
        })
    };
    weights().into_iter().flat_map(each).collect()
}

pub(in crate::ops) fn phase_mean() -> Vec<BenchCase<PhaseMean>> {
    let each = |(name, piece)| {
        let op = PhaseMean {
            piece,
            stage: 0,
            least: LEAST_SCALE,
        };
        case(name, op, &[Zeros, Zeros])
    };
    weights().map(each).into()
}

pub(in crate::ops) fn phase_pack() -> Vec<BenchCase<PhasePack>> {
    let data = [Floats, Floats, Zeros, Zeros];
    let each = |(name, piece)| {
        [false, true].map(|measure| {
            let with = if measure { ", with errors" } else { "" };
            let op = PhasePack { piece, measure };
            case(format!("{name}{with}"), op, &data)
        })
    };
    weights().into_iter().flat_map(each).collect()
}

pub(in crate::ops) fn phase_unpack() -> Vec<BenchCase<PhaseUnpack>> {
    let each = |(name, piece)| case(name, PhaseUnpack { piece }, &[Bits, Floats, Zeros]);
    weights().map(each).into()
}

fn baseline<O: Op>(op: impl Fn(Rows) -> O, data: &[Made]) -> Vec<BenchCase<O>> {
    let each = |(name, ternary)| {
        let rows = Rows::whole(ternary, HIDDEN, HIDDEN, -4);
        case(format!("{SQUARE}, {name}"), op(rows), data)
    };
    [("binary", false), ("ternary", true)].map(each).into()
}

pub(in crate::ops) fn baseline_sum() -> Vec<BenchCase<BaselineSum>> {
    baseline(BaselineSum, &[Floats, Zeros])
}

pub(in crate::ops) fn baseline_mean() -> Vec<BenchCase<BaselineMean>> {
    baseline(BaselineMean, &[Zeros, Zeros])
}

pub(in crate::ops) fn baseline_pack() -> Vec<BenchCase<BaselinePack>> {
    baseline(BaselinePack, &[Floats, Floats, Zeros, Zeros])
}

pub(in crate::ops) fn baseline_unpack() -> Vec<BenchCase<BaselineUnpack>> {
    baseline(BaselineUnpack, &[Zeros, Floats, Zeros])
}
