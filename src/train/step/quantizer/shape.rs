//! Which layers a recipe quantizes, in what shapes, and the memory that takes.

use crate::model::{Config, Form, Method, Recipe};
use crate::ops::calibrate::PhaseProject;
use crate::ops::quantize::BaselineShard;
use crate::ops::quantize::WeightShard;
use crate::train::step::formats::{Format, Formats};
use crate::train::step::parameters::{EMBED, Kind, Parameter, head, of_block, quantized};

/// How a layer's codes are made.
pub(super) enum Shape {
    Phase(WeightShard),
    Baseline(BaselineShard),
}

pub(super) fn shape(recipe: Recipe, parameter: &Parameter, exponent: i32) -> Shape {
    let (rows, columns) = (parameter.rows, parameter.columns);
    match recipe.method.of(parameter.layer()) {
        Method::Phase { stages } => {
            let granularity = recipe.granularity;
            Shape::Phase(WeightShard {
                form: parameter.form,
                ..WeightShard::whole(rows, columns, granularity, stages, exponent)
            })
        }
        method => {
            let ternary = method == Method::Ternary;
            Shape::Baseline(BaselineShard::whole(ternary, rows, columns, exponent))
        }
    }
}

impl Shape {
    /// Words of codes, scales, sums and errors; the sums are those of learning scales, too.
    pub(super) fn words(&self) -> [usize; 4] {
        match *self {
            Self::Phase(shard) => {
                // Scales of the conjugate form are not learned.
                let learned = match shard.form {
                    Form::WidelyLinear => PhaseProject { shard }.sums(),
                    Form::Conjugate => 0,
                };
                let sums = learned.max(shard.sums());
                [shard.codes(), shard.scales(), sums, 4 * shard.rows]
            }
            Self::Baseline(r) => [r.rows * r.words(), 2, 4 * r.total_rows, 4 * r.rows],
        }
    }
}

/// The logarithms of the scales of all quantized layers, as parameters.
pub(crate) fn scales(recipe: Recipe, config: &Config, parameters: &[Parameter]) -> Vec<Parameter> {
    let of = |i: usize| match shape(recipe, &parameters[i], 0) {
        Shape::Phase(shard) => {
            let rows = shard.scale_blocks();
            Some(Parameter {
                name: format!("{}.scales", parameters[i].layer()),
                kind: Kind::Scales,
                form: Form::WidelyLinear,
                half_run: 0,
                rows,
                columns: shard.scales() / rows,
            })
        }
        Shape::Baseline(_) => None,
    };
    let layers = quantized(recipe, config, parameters).into_iter();
    layers.filter_map(of).collect()
}

/// Parameters with the formats of their tensors.
pub(super) type Listed<'a> = (&'a [Parameter], &'a [Formats]);

/// Parameters of the first block and the head that are made dense: those that are quantized or complex, or, as factors in
/// `half` precision, all linear layers whose masters are not in f16 already.
pub(super) fn made_dense(
    recipe: Recipe,
    config: &Config,
    (parameters, formats): Listed<'_>,
    half: bool,
) -> Vec<usize> {
    let quantized = quantized(recipe, config, parameters);
    let block = of_block(config, 0).filter(|_| config.layers > 0);
    let used = |i: &usize| {
        let linear = parameters[*i].kind == Kind::Linear || *i == EMBED;
        let ready = formats[*i].value == Format::F16;
        let complex = parameters[*i].complex().is_some();
        quantized.contains(i) || complex || half && linear && !ready
    };
    block.chain([head(config)]).filter(used).collect()
}

/// Words of the master of a layer in f32, where masters have fewer bits.
pub(super) fn wide_words(layers: &[usize], (parameters, formats): Listed<'_>) -> usize {
    let narrow = |&&i: &&usize| formats[i].value != Format::F32;
    let words = layers.iter().filter(narrow).map(|&i| parameters[i].len());
    words.max().unwrap_or(0)
}

/// Words of a quantized weight as it is stored, where products take it in `half` precision, or its real matrix.
pub(super) fn staging_words(layers: &[usize], parameters: &[Parameter], half: bool) -> usize {
    let staged = layers.iter().map(|&i| &parameters[i]);
    let staged = staged.filter(|p| half || p.complex().is_some());
    staged.map(Parameter::len).max().unwrap_or(0)
}

/// Words of sums and errors that suffice for each of the parameters of these indices, and at least one.
pub(super) fn scratch_words(
    recipe: Recipe,
    parameters: &[Parameter],
    indices: &[usize],
) -> [usize; 2] {
    indices.iter().fold([1, 1], |most, &i| {
        let [.., sums, errors] = shape(recipe, &parameters[i], 0).words();
        [most[0].max(sums), most[1].max(errors)]
    })
}

/// Words of device memory: codes and scales of all layers, dense weights of a block and the head, what the
/// quantizer needs meanwhile.
pub(crate) fn words(recipe: Recipe, config: &Config, listed: Listed<'_>, half: bool) -> [usize; 3] {
    let parameters = listed.0;
    let layers = quantized(recipe, config, parameters);
    let mut total = [0; 3];
    for &i in &layers {
        let [codes, scales, sums, errors] = shape(recipe, &parameters[i], 0).words();
        total[0] += codes + scales;
        total[2] = total[2].max(sums + errors);
    }
    total[2] += wide_words(&layers, listed);
    for i in made_dense(recipe, config, listed, half) {
        let len = parameters[i].real_len();
        total[1] += if half { len / 2 } else { len };
    }
    let largest = layers.iter().map(|&i| parameters[i].len()).max();
    let rotated = largest.filter(|_| recipe.rotated).unwrap_or(0);
    total[2] += rotated + staging_words(&layers, parameters, half);
    total
}
