//! Inputs on which the products are checked and timed.

use super::PhaseShape;
use super::scale_blocks::{float_scale_blocks, integer_scale_blocks};
use crate::ops::bench;
use crate::ops::quantize::{Activations, Form, QuantizeAct};
use crate::ops::*;

/// Shapes on which all products are checked.
pub(super) fn shapes() -> Vec<PhaseShape> {
    let whole = PhaseShape::whole;
    let two_stages = whole(&[96], 1, 384, 2);
    let stacked = whole(&[64, 31, 32], 2, 130, 2);
    let long_rows = whole(&[10], 1, 5000, 2);
    vec![
        whole(&[64], 1, 64, 1),
        two_stages.clone(),
        whole(&[40], 2, 160, 3),
        whole(&[32], 3, 96, 4),
        whole(&[37], 2, 75, 2),
        stacked.clone(),
        long_rows.clone(),
        whole(&[1], 1, 1, 2),
        whole(&[70], 37, 100, 2),
        PhaseShape {
            per_row: true,
            ..stacked.clone()
        },
        PhaseShape {
            per_row: true,
            group_words: 2,
            ..two_stages
        },
        // the last group of a row is shorter
        PhaseShape {
            per_row: true,
            group_words: 4,
            ..long_rows
        },
        PhaseShape {
            accumulate: true,
            ..stacked.clone()
        },
        PhaseShape {
            first_row: 20,
            shard_rows: 30,
            ..stacked
        },
    ]
}

/// Shapes of the conjugate form on which products are checked: every number of planes, outputs in halves and in runs of them.
pub(super) fn conjugate_shapes() -> Vec<PhaseShape> {
    let whole = |segments: &[usize], tokens, in_features, stages, half_run| PhaseShape {
        form: Form::Conjugate,
        half_run,
        ..PhaseShape::whole(segments, tokens, in_features, stages)
    };
    let stacked = whole(&[72, 24, 48], 2, 130, 1, 0);
    let runs = whole(&[120, 40, 40], 3, 160, 1, 5);
    let long_rows = whole(&[10], 1, 5000, 3, 0);
    vec![
        whole(&[2], 1, 2, 1, 0),
        whole(&[96], 1, 384, 1, 0),
        whole(&[40], 2, 160, 2, 0),
        whole(&[36], 3, 150, 3, 0),
        whole(&[32], 3, 96, 4, 0),
        whole(&[70], 37, 100, 1, 0),
        whole(&[192, 64], 2, 66, 2, 16),
        whole(&[84], 2, 96, 3, 7),
        whole(&[64], 1, 64, 4, 32),
        runs.clone(),
        PhaseShape {
            per_row: true,
            group_words: 2,
            ..stacked.clone()
        },
        // the last group of a row is shorter
        PhaseShape {
            per_row: true,
            group_words: 4,
            ..long_rows
        },
        PhaseShape {
            accumulate: true,
            ..stacked.clone()
        },
        PhaseShape {
            accumulate: true,
            per_row: true,
            ..runs.clone()
        },
        PhaseShape {
            first_row: 20,
            shard_rows: 40,
            ..stacked
        },
        // neither end of the shard is that of a run
        PhaseShape {
            first_row: 13,
            shard_rows: 71,
            ..runs
        },
    ]
}

/// Shapes and activations on which the products with cooperative matrices in f16 are checked.
pub(super) fn coop() -> Vec<(PhaseShape, Activations)> {
    let whole = PhaseShape::whole;
    let stacked = whole(&[128, 256, 128], 128, 128, 2);
    let of_16_bits = [
        whole(&[128], 128, 64, 1),
        stacked.clone(),
        // a tile of tokens that is not whole, and two tiles
        whole(&[128, 128], 5, 192, 2),
        whole(&[256], 200, 64, 2),
        PhaseShape {
            per_row: true,
            ..stacked.clone()
        },
        PhaseShape {
            accumulate: true,
            ..stacked.clone()
        },
        PhaseShape {
            first_row: 64,
            shard_rows: 128,
            ..stacked.clone()
        },
    ];
    let others = [Activations::Float, Activations::Int8].map(|mode| (stacked.clone(), mode));
    let of_16_bits = of_16_bits.map(|shape| (shape, Activations::Int16));
    let conjugate = (1..=4).flat_map(|stages| {
        let shape = |half_run| PhaseShape {
            form: Form::Conjugate,
            half_run,
            per_row: stages == 2,
            ..whole(&[384, 128, 128], 130, 192, stages)
        };
        [0, 32, 16].map(|half_run| (shape(half_run), Activations::Int8))
    });
    let of_16_bits = of_16_bits.into_iter().chain(others);
    of_16_bits.chain(conjugate).collect()
}

/// Stacks whose codes become dense weights: every number of planes, scales of every granularity, halves in runs.
pub(super) fn expanded() -> Vec<(PhaseShape, Activations)> {
    use Activations::{Float, Int8, Int16};
    use Form::{Conjugate, WidelyLinear};
    let recipes = [
        (WidelyLinear, 1, 0, false, 0, Int16),
        (WidelyLinear, 2, 0, false, 0, Int16),
        (WidelyLinear, 2, 0, false, 0, Int8),
        (WidelyLinear, 2, 0, true, 0, Float),
        (WidelyLinear, 2, 0, true, 0, Int16),
        (WidelyLinear, 2, 16, false, 0, Int16),
        (WidelyLinear, 2, 0, true, 4, Int16),
        (WidelyLinear, 3, 0, false, 0, Int8),
        (WidelyLinear, 3, 16, true, 4, Float),
        (WidelyLinear, 4, 0, true, 0, Int16),
        (WidelyLinear, 4, 0, true, 2, Int8),
        (Conjugate, 1, 0, false, 0, Int8),
        (Conjugate, 1, 32, false, 0, Int8),
        (Conjugate, 2, 16, true, 0, Int16),
        (Conjugate, 2, 0, true, 4, Int8),
        (Conjugate, 3, 0, true, 0, Float),
        (Conjugate, 3, 64, false, 0, Int8),
        (Conjugate, 4, 0, false, 0, Int16),
        (Conjugate, 4, 32, true, 0, Int8),
    ];
    let of = |(form, stages, half_run, per_row, group_words, mode)| {
        // Rows that are no whole workgroups, where halves do not lie in runs.
        let segments = match half_run {
            0 => [126, 234, 132],
            _ => [128, 256, 128],
        };
        let shape = PhaseShape {
            per_row,
            form,
            half_run,
            ..PhaseShape::whole(&segments, 1, 192, stages)
        };
        let group_words = match group_words {
            0 => shape.group_words,
            words => words,
        };
        let shape = PhaseShape {
            group_words,
            ..shape
        };
        (shape, mode)
    };
    recipes.map(of).into()
}

/// Codes, scale blocks and `y` of a case. `y` is noise where a product leaves some of it or adds to it.
pub(super) fn stack(shape: &PhaseShape, mode: Activations) -> [Data; 3] {
    let codes = noise_u32(7, shape.shard_rows * shape.planes() * shape.words());
    let count = shape.scale_blocks() * shape.groups() * shape.planes() * 2;
    // Other programs' scales are 0 where no weight has such a code, here and there or in a whole block.
    let width = count / shape.scale_blocks();
    let is_zero = |i: usize| shape.scale_blocks() > 2 && (i / width == 1 || i % 11 == 3);
    let scales: Vec<f32> = noise(8, count, 0.02)
        .iter()
        .enumerate()
        .map(|(i, s)| (s.abs() + 1e-3) / (1 << (i / 2 % shape.stages)) as f32)
        .enumerate()
        .map(|(i, s)| if is_zero(i) { 0.0 } else { s })
        .collect();
    let blocks = match mode {
        Activations::Float => float_scale_blocks(&scales, shape.scale_blocks()),
        mode => integer_scale_blocks(&scales, shape.scale_blocks(), mode),
    };
    let y = shape.tokens * shape.outputs();
    let y = match shape.accumulate || shape.shard_rows < shape.complex_rows() {
        true => Data::f32(&noise(9, y, 1.0)),
        false => Data::Out(y),
    };
    [Data::Words(codes), Data::Words(blocks), y]
}

/// Every shape of both forms with integers of 16 and of 8 bits.
pub(super) fn integer<O: Op>(op: impl Fn(PhaseShape, Activations) -> O) -> Vec<Case<O>> {
    let mut all = Vec::new();
    for mode in Activations::INTEGERS {
        for shape in shapes().into_iter().chain(conjugate_shapes()) {
            let data = integer_data(&shape, mode);
            all.push(Case::new("", op(shape, mode), data));
        }
    }
    all
}

/// Contents of the bindings of an integer product.
pub(super) fn integer_data(shape: &PhaseShape, mode: Activations) -> Vec<Data> {
    let x = noise(10, shape.tokens * shape.in_features, 3.0);
    let [q, absmax] = rounded(&x, shape.tokens, shape.form, mode).map(Data::Words);
    let [codes, blocks, y] = stack(shape, mode);
    vec![codes, q, absmax, blocks, y]
}

/// `q` and `absmax` of tokens.
pub(super) fn rounded(x: &[f32], tokens: usize, form: Form, mode: Activations) -> [Vec<u32>; 2] {
    let columns = x.len() / tokens;
    let round = QuantizeAct {
        tokens,
        columns,
        form,
        mode,
    };
    let mut q = vec![0; tokens * mode.row_words(columns)];
    let mut absmax = vec![0; tokens * form.token_scales()];
    let mut b = Bindings::new();
    b.push_read(bytemuck::cast_slice(x));
    b.push_write(&mut q);
    b.push_write(&mut absmax);
    round.reference(&mut b);
    [q, absmax]
}

/// Every shape with activations in f32.
pub(super) fn float<O: Op>(op: impl Fn(PhaseShape) -> O) -> Vec<Case<O>> {
    let each = |shape: PhaseShape| {
        let x = noise(10, shape.tokens * shape.in_features, 3.0);
        let [codes, blocks, y] = stack(&shape, Activations::Float);
        Case::new("", op(shape), vec![codes, Data::f32(&x), blocks, y])
    };
    let all = shapes().into_iter().chain(conjugate_shapes());
    all.map(each).collect()
}

/// Layers of a model with two stages and scales of whole tensors. The head sees one token of a prompt only.
pub(super) fn bench_shapes(tokens: usize) -> Vec<(&'static str, PhaseShape)> {
    let shape = |(layer, segments, k): (_, Vec<usize>, _)| {
        (layer, PhaseShape::whole(&segments, tokens, k, 2))
    };
    let layers = bench::layers().into_iter();
    let layers = layers.filter(|layer| tokens == 1 || layer.0 != "head");
    layers.map(shape).collect()
}

/// `op(shape, name of the layer)` for every layer.
pub(super) fn bench_layers<O: Op>(
    tokens: usize,
    data: &[Made],
    op: impl Fn(PhaseShape, &str) -> O,
) -> Vec<BenchCase<O>> {
    let shapes = bench_shapes(tokens).into_iter();
    shapes
        .map(|(layer, shape)| bench::case(format!("layer={layer}"), op(shape, layer), data))
        .collect()
}

pub(super) fn bench_integer<O: Op>(
    tokens: usize,
    op: impl Fn(PhaseShape, Activations) -> O,
) -> Vec<BenchCase<O>> {
    use Made::{Bits, Floats, Zeros};
    let data = [Bits, Bits, Floats, Zeros, Zeros];
    let of = |&mode: &Activations| bench_layers(tokens, &data, |shape, _| op(shape, mode));
    Activations::INTEGERS.iter().flat_map(of).collect()
}

pub(super) fn bench_float<O: Op>(tokens: usize, op: impl Fn(PhaseShape) -> O) -> Vec<BenchCase<O>> {
    use Made::{Bits, Floats, Zeros};
    bench_layers(tokens, &[Bits, Floats, Floats, Zeros], |shape, _| op(shape))
}
