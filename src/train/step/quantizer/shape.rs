//! Which layers a recipe quantizes, in what shapes, and the memory that takes.

use crate::model::{Config, Method, Recipe};
use crate::ops::calibrate::PhaseProject;
use crate::ops::quantize::Piece;
use crate::ops::quantize::Rows;
use crate::train::step::formats::{Format, Formats};
use crate::train::step::parameters::{EMBED, Kind, Parameter, head, of_block, place};

/// How a layer's codes are made.
pub enum Shape {
    Phase(Piece),
    Baseline(Rows),
}

pub fn shape(recipe: Recipe, parameter: &Parameter, exponent: i32) -> Shape {
    let (rows, columns) = (parameter.rows, parameter.columns);
    match recipe.method.of(parameter.layer()) {
        Method::Phase { stages } => {
            let granularity = recipe.granularity;
            Shape::Phase(Piece::whole(rows, columns, granularity, stages, exponent))
        }
        method => {
            let ternary = method == Method::Ternary;
            Shape::Baseline(Rows::whole(ternary, rows, columns, exponent))
        }
    }
}

impl Shape {
    /// Words of codes, scales, sums and errors; the sums are those of learning scales, too.
    pub fn words(&self) -> [usize; 4] {
        match *self {
            Self::Phase(piece) => {
                let sums = PhaseProject { piece }.sums().max(piece.sums());
                [piece.codes(), piece.scales(), sums, 4 * piece.rows]
            }
            Self::Baseline(r) => [r.rows * r.words(), 2, 4 * r.total_rows, 4 * r.rows],
        }
    }
}

/// Indices of the parameters that a recipe quantizes, blocks first.
pub fn quantized(recipe: Recipe, config: &Config, parameters: &[Parameter]) -> Vec<usize> {
    if recipe.method == Method::Full {
        return Vec::new();
    }
    let inside = of_block(config.layers, 0);
    let linear = |&i: &usize| parameters[i].kind == Kind::Linear;
    let mut all: Vec<usize> = (0..inside).filter(linear).collect();
    if !recipe.skip_head {
        all.push(head(config));
    }
    all
}

/// The logarithms of the scales of all quantized layers, as parameters.
pub fn scales(recipe: Recipe, config: &Config, parameters: &[Parameter]) -> Vec<Parameter> {
    let of = |i: usize| match shape(recipe, &parameters[i], 0) {
        Shape::Phase(piece) => {
            let rows = if piece.by_row() { piece.rows } else { 1 };
            Some(Parameter {
                name: format!("{}.scales", parameters[i].layer()),
                kind: Kind::Scales,
                rows,
                columns: piece.scales() / rows,
            })
        }
        Shape::Baseline(_) => None,
    };
    let layers = quantized(recipe, config, parameters).into_iter();
    layers.filter_map(of).collect()
}

/// Parameters with the formats that they are held in.
pub type Listed<'a> = (&'a [Parameter], &'a [Formats]);

/// Parameters of the first block and the head that are made dense: those that are quantized, or, as factors in `half`
/// precision, all linear layers that are not held so.
pub fn made_dense(
    recipe: Recipe,
    config: &Config,
    (parameters, formats): Listed<'_>,
    half: bool,
) -> Vec<usize> {
    let quantized = quantized(recipe, config, parameters);
    let places = (0..=place::DOWN).filter(|_| config.layers > 0);
    let block = places.map(|p| of_block(0, p));
    let used = |i: &usize| {
        let linear = parameters[*i].kind == Kind::Linear || *i == EMBED;
        let ready = formats[*i].value == Format::F16;
        quantized.contains(i) || half && linear && !ready
    };
    block.chain([head(config)]).filter(used).collect()
}

/// Words of the master of a layer in f32, where masters are held in fewer bits.
pub fn wide_words(layers: &[usize], (parameters, formats): Listed<'_>) -> usize {
    let narrow = |&&i: &&usize| formats[i].value != Format::F32;
    let words = layers.iter().filter(narrow).map(|&i| parameters[i].len());
    words.max().unwrap_or(0)
}

/// Words of device memory: codes and scales of all layers, dense weights of a block and the head, what the
/// quantizer needs meanwhile.
pub fn words(recipe: Recipe, config: &Config, listed: Listed<'_>, half: bool) -> [usize; 3] {
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
        let len = parameters[i].len();
        total[1] += if half { len / 2 } else { len };
    }
    let largest = layers.iter().map(|&i| parameters[i].len()).max();
    let largest = largest.unwrap_or(0);
    total[2] += largest * (usize::from(half) + usize::from(recipe.rotated));
    total
}
