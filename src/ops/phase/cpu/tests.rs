//! Every kernel this CPU can run against the reference: the same bits.

use super::*;
use crate::fixed;
use crate::ops::phase::codes::transposed;
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
        let mut run = Self::unchecked(case);
        let mut b = Bindings::new();
        run.data[..4].iter().for_each(|d| b.push_read(d));
        b.push_write(&mut run.expected);
        case.op.reference(&mut b);
        run
    }

    /// Without the reference's results.
    fn unchecked(case: &Case<PhaseGemv>) -> Self {
        let words = |d: &Data| match d {
            Data::Words(words) => words.clone(),
            Data::Out(len) => vec![f32::NAN.to_bits(); *len],
        };
        let data: Vec<_> = case.data.iter().map(words).collect();
        let expected = data[4].clone();
        Self { data, expected }
    }

    fn inputs<'a>(&'a self, op: &'a PhaseGemv) -> Inputs<'a> {
        Inputs {
            shape: &op.shape,
            mode: op.mode,
            codes: &self.data[0],
            q: &self.data[1],
            absmax: bytemuck::cast_slice(&self.data[2]),
            scale_blocks: &self.data[3],
        }
    }

    /// Seconds of a run of the fastest kernel.
    fn time(&self, op: &PhaseGemv) -> f64 {
        let mut y = self.data[4].clone();
        let start = std::time::Instant::now();
        product_with(
            Kernel::best(),
            &self.inputs(op),
            bytemuck::cast_slice_mut(&mut y),
        );
        start.elapsed().as_secs_f64()
    }

    fn check(&self, kernel: Kernel, op: &PhaseGemv, name: &str) {
        let mut y = self.data[4].clone();
        product_with(kernel, &self.inputs(op), bytemuck::cast_slice_mut(&mut y));
        assert!(y == self.expected, "{kernel:?}: {name}, {op:?}");
    }
}

fn check(case: &Case<PhaseGemv>) {
    let run = Run::of(case);
    for kernel in Kernel::available() {
        run.check(kernel, &case.op, &case.name());
    }
    // panels for the kernels that read them, and panels that none of them reads
    let words = [32, 13].map(|lanes| CodeLayout::Words { lanes });
    for layout in words.into_iter().chain([CodeLayout::Bytes]) {
        let laid = laid(case, layout);
        let of_panels = Run {
            expected: run.expected.clone(),
            ..Run::unchecked(&laid)
        };
        for kernel in Kernel::available() {
            of_panels.check(kernel, &laid.op, &laid.name());
        }
    }
}

/// The same case with its codes in another layout.
fn laid(case: &Case<PhaseGemv>, layout: CodeLayout) -> Case<PhaseGemv> {
    let shape = PhaseShape {
        layout,
        ..case.op.shape.clone()
    };
    let (planes, words) = (shape.planes(), shape.words());
    let Data::Words(codes) = &case.data[0] else {
        panic!("codes are given");
    };
    let (mut all, panel) = (
        vec![0; shape.code_words()],
        layout.panel_words(planes, words),
    );
    for (local, row) in codes.chunks_exact(planes * words).enumerate() {
        let mut packed = vec![0; row.len()];
        for (word, codes) in row.chunks_exact(planes).enumerate() {
            let mut codes = codes.to_vec();
            if planes.is_multiple_of(4) {
                let fours = codes.as_chunks_mut::<4>().0;
                fours.iter_mut().for_each(|four| *four = transposed(*four));
            }
            for (plane, code) in codes.into_iter().enumerate() {
                packed[plane * words + word] = code;
            }
        }
        let panel = &mut all[shape.panel_of(local) * panel..][..panel];
        layout.lay(&packed, planes, shape.row_in_panel(local), panel);
    }
    assert!(*shape.codes_by_rows(&all) == codes[..shape.shard_rows * planes * words]);
    let mut data = case.data.clone();
    data[0] = Data::Words(all);
    let mode = case.op.mode;
    Case::new(case.note.clone(), PhaseGemv { shape, mode }, data)
}

#[test]
fn every_kernel_agrees_on_every_case() {
    PhaseGemv::cases().iter().for_each(check);
}

#[test]
fn the_reference_reads_every_layout() {
    for case in PhaseGemv::cases() {
        let expected = Run::of(&case).expected;
        for layout in [CodeLayout::Words { lanes: 32 }, CodeLayout::Bytes] {
            let laid = laid(&case, layout);
            assert!(Run::of(&laid).expected == expected, "{:?}", laid.op);
        }
    }
}

fn case(shape: PhaseShape, mode: Activations) -> Case<PhaseGemv> {
    let x = noise(10, shape.tokens * shape.in_features, 3.0);
    let [q, absmax] = rounded(&x, &shape, mode).map(Data::Words);
    let [codes, blocks, y] = cases::stack(&shape, mode);
    let data = vec![codes, q, absmax, blocks, y];
    Case::new("", PhaseGemv { shape, mode }, data)
}

/// `q` and `absmax` of tokens; their halves have different magnitudes.
fn rounded(x: &[f32], shape: &PhaseShape, mode: Activations) -> [Vec<u32>; 2] {
    let half = shape.in_features.div_ceil(2);
    let scaled = x.iter().enumerate().map(|(i, v)| {
        let imaginary = i % shape.in_features >= half;
        if imaginary { 0.1 * v } else { *v }
    });
    let x: Vec<f32> = scaled.collect();
    cases::rounded(&x, shape.tokens, shape.form, mode)
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
        // of the conjugate form
        runs in proptest::option::of(0usize..12),
    ) {
        let form = if runs.is_some() { Form::Conjugate } else { Form::WidelyLinear };
        let half_run = runs.unwrap_or(0);
        let unit = 2 * half_run.max(1);
        let (segments, in_features) = match form {
            Form::WidelyLinear => (segments, in_features),
            Form::Conjugate => {
                let whole = segments.into_iter().map(|s: usize| s.next_multiple_of(unit));
                (whole.collect(), in_features.next_multiple_of(2))
            }
        };
        let complex: usize = segments.iter().map(|s| s.div_ceil(2)).sum();
        let first_row = shard.0.min(complex - 1);
        let shape = PhaseShape {
            shard_rows: shard.1.min(complex - first_row),
            per_row: per_row || group_words != usize::MAX,
            segments, in_features, stages, group_words, first_row, accumulate, tokens, form, half_run,
            layout: CodeLayout::Rows,
        };
        let mode = if eight { Activations::Int8 } else { Activations::Int16 };
        check(&case(shape, mode));
    }
}

/// Every activation the largest, every code of the same sign: what 31 bits and the 16-bit sums must hold.
#[test]
fn the_longest_rows_do_not_overflow() {
    use Form::{Conjugate, WidelyLinear};
    for (form, stages, mode) in [
        (WidelyLinear, 1, Activations::Int16),
        (WidelyLinear, 4, Activations::Int8),
        (Conjugate, 1, Activations::Int16),
        (Conjugate, 3, Activations::Int16),
    ] {
        for sign in [1.0, -1.0] {
            for symbol in 0..4 {
                let shape = PhaseShape {
                    form,
                    ..PhaseShape::whole(&[4], 1, 2 * MAX_COLUMNS, stages)
                };
                let mut case = case(shape.clone(), mode);
                let words = 2 * shape.planes() * shape.words();
                case.data[0] = Data::u32(&vec![symbol * 0x5555_5555; words]);
                let x = vec![sign; 2 * MAX_COLUMNS];
                let [q, absmax] = rounded(&x, &shape, mode);
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
    check(&case(shape.clone(), Activations::Int16));
    let shape = PhaseShape {
        form: Form::Conjugate,
        segments: vec![4, 2],
        stages: 1,
        ..shape
    };
    check(&case(shape, Activations::Int16));
}

#[test]
fn rounding_is_that_of_the_fixed_point() {
    let mut small = 0;
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
            if scale::are_small(&[0, sum]) {
                small += 1;
                let fast = scale::round_small(sum, factor, scale::power_of_two(power));
                assert_eq!(fast.to_bits(), exact.to_bits(), "{sum} {factor} {power}");
            }
        }
    }
    assert!(small > 5000, "{small}");
}

#[test]
fn small_sums_end_where_doubles_do() {
    let (least, beyond) = (-(1i64 << 51), 1i64 << 51);
    assert!(scale::are_small(&[least, 0, beyond - 1]));
    assert!(!scale::are_small(&[0, beyond]) && !scale::are_small(&[least - 1, 0]));
    assert!(!scale::are_small(&[i64::MIN]) && !scale::are_small(&[i64::MAX]));
    for sum in [least, beyond - 1, 0, -1, 1] {
        let exact = fixed::to_f32(sum, 1.0, 0);
        assert_eq!(scale::round_small(sum, 1.0, 1.0).to_bits(), exact.to_bits());
    }
}

#[test]
fn bands_cover_every_output_once() {
    let whole = PhaseShape::whole(&[7, 10, 1], 3, 4, 1);
    let runs = PhaseShape {
        half_run: 3,
        ..PhaseShape::whole(&[6, 24, 12], 3, 4, 1)
    };
    // the shard begins and ends within runs
    let shard = PhaseShape {
        first_row: 4,
        shard_rows: 15,
        ..runs.clone()
    };
    for shape in [whole, runs, shard] {
        let mut y = vec![0.0; shape.tokens * shape.outputs()];
        for mut band in bands::bands(&shape, 3, &mut y) {
            assert!(band.rows.len() <= 3);
            let ones = vec![1.0; band.rows.len()];
            for (token, half) in (0..shape.tokens).flat_map(|t| [(t, 0), (t, 1)]) {
                band.each_slice(token, half, 0, &ones, |y, ones| {
                    y.iter_mut().zip(ones).for_each(|(y, one)| *y += one);
                });
            }
        }
        let mut expected = vec![0.0; shape.outputs()];
        for row in 0..shape.shard_rows {
            let (_, re, im) = shape.outputs_of(shape.first_row + row);
            [Some(re), im]
                .into_iter()
                .flatten()
                .for_each(|i| expected[i] = 1.0);
        }
        for y in y.chunks_exact(shape.outputs()) {
            assert_eq!(y, expected, "{}", shape.shape());
        }
    }
}

/// How fast each kernel reads codes, in gigabytes a second: `cargo test --release codes_a_second -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn codes_a_second() {
    let layers = [
        (vec![3072; 3], 3072),
        (vec![8192; 2], 3072),
        (vec![3072], 8192),
    ];
    let forms = [
        (Form::WidelyLinear, 1, 1),
        (Form::Conjugate, 1, 2),
        (Form::Conjugate, 2, 1),
    ];
    for (form, stages, times) in forms {
        for tokens in [1, 16] {
            for mode in Activations::INTEGERS {
                let mut line = format!(
                    "{form:?} planes={} n={tokens} {mode}:",
                    stages * form.matrices()
                );
                for (segments, k) in &layers {
                    // as many bytes of codes in every form
                    let segments: Vec<usize> = segments.iter().map(|s| s * times).collect();
                    let shape = PhaseShape {
                        form,
                        ..PhaseShape::whole(&segments, tokens, *k, stages)
                    };
                    let case = case(shape, mode);
                    let run = Run::unchecked(&case);
                    let best = (0..9).map(|_| run.time(&case.op)).fold(f64::MAX, f64::min);
                    line += &format!(" {:.2}", run.data[0].len() as f64 * 4e-9 / best);
                }
                println!("{line}");
            }
        }
    }
}
