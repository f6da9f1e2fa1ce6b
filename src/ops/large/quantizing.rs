//! Weights on their way to codes and back.

use super::{BenchCase, HIDDEN, Made, Made::*, case};
use crate::ops::Op;
use crate::ops::baseline::{BaselineMean, BaselinePack, BaselineSum, BaselineUnpack, Rows};
use crate::ops::quantizer::{
    Granularity, LEAST_SCALE, PhaseMean, PhasePack, PhaseScale, PhaseUnpack, Piece,
};
use crate::ops::widely::{WidelyMerge, WidelySplit};

const SQUARE: &str = "4096 x 4096";

pub(in crate::ops) fn widely_split() -> Vec<BenchCase<WidelySplit>> {
    let op = WidelySplit {
        out_features: HIDDEN,
        in_features: HIDDEN,
    };
    vec![case(SQUARE, op, &[Floats, Zeros])]
}

pub(in crate::ops) fn widely_merge() -> Vec<BenchCase<WidelyMerge>> {
    let op = WidelyMerge {
        out_features: HIDDEN,
        in_features: HIDDEN,
    };
    vec![case(SQUARE, op, &[Floats, Zeros])]
}

/// A weight whose magnitudes are those of [`Made::Floats`].
fn piece() -> Piece {
    Piece::whole(HIDDEN, HIDDEN, Granularity::Tensor, 2, -4)
}

pub(in crate::ops) fn phase_scale() -> Vec<BenchCase<PhaseScale>> {
    let each = |stage| {
        let op = PhaseScale {
            piece: piece(),
            stage,
        };
        case(
            format!("{SQUARE}, stage {stage}"),
            op,
            &[Floats, Floats, Zeros],
        )
    };
    [0, 1].map(each).into()
}

pub(in crate::ops) fn phase_mean() -> Vec<BenchCase<PhaseMean>> {
    let op = PhaseMean {
        piece: piece(),
        stage: 0,
        least: LEAST_SCALE,
    };
    vec![case(SQUARE, op, &[Zeros, Zeros])]
}

pub(in crate::ops) fn phase_pack() -> Vec<BenchCase<PhasePack>> {
    let op = PhasePack { piece: piece() };
    vec![case(SQUARE, op, &[Floats, Floats, Zeros, Zeros])]
}

pub(in crate::ops) fn phase_unpack() -> Vec<BenchCase<PhaseUnpack>> {
    let op = PhaseUnpack { piece: piece() };
    vec![case(SQUARE, op, &[Bits, Floats, Zeros])]
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
