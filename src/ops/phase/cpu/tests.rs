//! Every kernel this CPU can run against the reference: the same bits.

use super::*;
use crate::fixed;
use crate::ops::phase::{MAX_COLUMNS, PhaseGemv, cases};
use crate::ops::quantize::Form;
use crate::ops::*;
use proptest::prelude::*;

/// The contents of a case's bindings, and what the reference makes of them.
struct Run {
    data: Vec<Vec<u32>>,
    expected: Vec<u32>,
}

impl Run {
    fn of(case: &Case<PhaseGemv>) -> Self {
        let words = |d: &Data| match d {
            Data::Words(words) => words.clone(),
            Data::Out(len) => vec![f32::NAN.to_bits(); *len],
        };
        let data: Vec<_> = case.data.iter().map(words).collect();
        let mut expected = data[4].clone();
        let mut b = Bindings::new();
        data[..4].iter().for_each(|d| b.push_read(d));
        b.push_write(&mut expected);
        case.op.reference(&mut b);
        Self { data, expected }
    }

    fn check(&self, kernel: Kernel, op: &PhaseGemv, name: &str) {
        let mut y = self.data[4].clone();
        let inputs = Inputs {
            shape: &op.shape,
            mode: op.mode,
            codes: &self.data[0],
            q: &self.data[1],
            absmax: bytemuck::cast_slice(&self.data[2]),
            scale_blocks: &self.data[3],
        };
        product_with(kernel, &inputs, bytemuck::cast_slice_mut(&mut y));
        assert!(y == self.expected, "{kernel:?}: {name}, {op:?}");
    }
}

fn check(case: &Case<PhaseGemv>) {
    let run = Run::of(case);
    for kernel in Kernel::available() {
        run.check(kernel, &case.op, &case.name());
    }
}

#[test]
fn every_kernel_agrees_on_every_case() {
    PhaseGemv::cases().iter().for_each(check);
}

fn case(shape: PhaseShape, mode: Activations) -> Case<PhaseGemv> {
    let data = cases::integer_data(&shape, mode);
    Case::new("", PhaseGemv { shape, mode }, data)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn every_kernel_agrees_on_random_shapes(
        segments in proptest::collection::vec(1usize..70, 1..=3),
        in_features in 1usize..700,
        stages in 1usize..=4,
        tokens in 1usize..12,
        per_row: bool,
        accumulate: bool,
        group_words in prop_oneof![Just(usize::MAX), 1usize..9],
        eight: bool,
        shard in (0usize..40, 1usize..60),
    ) {
        let complex: usize = segments.iter().map(|s| s.div_ceil(2)).sum();
        let first_row = shard.0.min(complex - 1);
        let shape = PhaseShape {
            shard_rows: shard.1.min(complex - first_row),
            per_row: per_row || group_words != usize::MAX,
            segments, in_features, stages, group_words, first_row, accumulate, tokens, form: Form::WidelyLinear, half_run: 0,
        };
        let mode = if eight { Activations::Int8 } else { Activations::Int16 };
        check(&case(shape, mode));
    }
}

/// Every activation the largest, every code of the same sign: what 31 bits and the 16-bit sums must hold.
#[test]
fn the_longest_rows_do_not_overflow() {
    for (stages, mode) in [(1, Activations::Int16), (4, Activations::Int8)] {
        for sign in [1.0, -1.0] {
            for symbol in 0..4 {
                let shape = PhaseShape::whole(&[3], 1, 2 * MAX_COLUMNS, stages);
                let mut case = case(shape, mode);
                case.data[0] = Data::u32(&vec![
                    symbol * 0x5555_5555;
                    2 * 2 * stages * case.op.shape.words()
                ]);
                let x = vec![sign; 2 * MAX_COLUMNS];
                let [q, absmax] = cases::rounded(&x, 1, mode);
                (case.data[1], case.data[2]) = (Data::Words(q), Data::Words(absmax));
                check(&case);
            }
        }
    }
}

/// Rows so long that every kernel takes the tokens in three turns.
#[test]
fn tokens_in_turns() {
    let shape = PhaseShape {
        accumulate: true,
        ..PhaseShape::whole(&[3, 2], 19, 33_000, 2)
    };
    check(&case(shape, Activations::Int16));
}

#[test]
fn rounding_is_that_of_the_fixed_point() {
    for seed in 0..20_000u32 {
        let [a, b, c, d] = [1, 2, 3, 4].map(|s| hash32(seed, s));
        let sum = ((u64::from(a) << 32 | u64::from(b)) as i64) >> (c % 64);
        let factor = f32::from_bits(c >> 1).abs();
        let power = (d % 320) as i32 - 200;
        if factor.is_normal() {
            let (fast, exact) = (
                scale::round(sum, factor, scale::power_of_two(power)),
                fixed::to_f32(sum, factor, power),
            );
            assert_eq!(fast.to_bits(), exact.to_bits(), "{sum} {factor} {power}");
        }
    }
}

#[test]
fn bands_cover_every_output_once() {
    let shape = PhaseShape::whole(&[7, 10, 1], 3, 4, 1);
    let mut y = vec![0.0; shape.tokens * shape.outputs()];
    for band in bands::bands(&shape, 3, &mut y) {
        assert!(band.rows.len() <= 3);
        for half in band.y.into_iter().flatten() {
            half.iter_mut().for_each(|y| *y += 1.0);
        }
    }
    assert!(y.iter().all(|&y| y == 1.0));
}
