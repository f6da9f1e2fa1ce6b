//! Weights as the forward pass sees them: quantized from the masters each step, unpacked when they are used.

use super::parameters::{EMBED, Held, Kind, Parameter, head, of_block, place};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::fixed;
use crate::model::{Config, Method, Recipe};
use crate::ops::baseline::{BaselineMean, BaselinePack, BaselineSum, BaselineUnpack, Rows};
use crate::ops::quantizer::{LEAST_SCALE, PhaseMean, PhasePack, PhaseScale, PhaseUnpack, Piece};
use crate::ops::train::blend::Blend;
use crate::ops::train::halve::Halve;
use crate::ops::train::optimizer::GradNorm;

/// Codes and scales of one linear layer.
struct Codes<B: Backend> {
    parameter: usize,
    codes: B::Buffer,
    scales: B::Buffer,
}

/// All quantized layers, and the dense weights of one block and of the head.
pub(super) struct Quantizer<B: Backend> {
    pub(super) recipe: Recipe,
    layers: Vec<Codes<B>>,
    /// By place in a block, where that is quantized.
    block: Vec<Option<B::Buffer>>,
    head: Option<B::Buffer>,
    /// The block whose weights `block` holds.
    held: Option<usize>,
    head_held: bool,
    /// Whether the codes are those of the current masters.
    fresh: bool,
    /// Of the quantized weight in what the forward pass sees; the rest is the master's.
    share: f64,
    sums: B::Buffer,
    errors: B::Buffer,
    /// The dense weights are in f16.
    half: bool,
    /// Where they are unpacked first.
    staging: Option<B::Buffer>,
    squares: B::Buffer,
    largest: B::Buffer,
    config: Config,
}

/// How a layer's codes are made.
enum Shape {
    Phase(Piece),
    Baseline(Rows),
}

fn shape(recipe: Recipe, parameter: &Parameter, exponent: i32) -> Shape {
    let (rows, columns) = (parameter.rows, parameter.columns);
    match recipe.method {
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
    /// Words of codes, scales, sums and errors.
    fn words(&self) -> [usize; 4] {
        match self {
            Self::Phase(p) => [p.codes(), p.scales(), p.sums(), 4 * p.rows],
            Self::Baseline(r) => [r.rows * r.words(), 2, 4 * r.total_rows, 4 * r.rows],
        }
    }
}

/// Indices of the parameters that a recipe quantizes, blocks first.
fn quantized(recipe: Recipe, config: &Config, parameters: &[Parameter]) -> Vec<usize> {
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

/// Parameters of the first block and the head that are made dense: those that are quantized, or, as factors in `half`
/// precision, all linear layers.
fn made_dense(recipe: Recipe, config: &Config, parameters: &[Parameter], half: bool) -> Vec<usize> {
    let quantized = quantized(recipe, config, parameters);
    let block = (0..=place::DOWN).map(|p| of_block(0, p));
    let used = |i: &usize| {
        let linear = parameters[*i].kind == Kind::Linear || *i == EMBED;
        quantized.contains(i) || half && linear
    };
    block.chain([head(config)]).filter(used).collect()
}

/// Words of device memory: codes and scales of all layers, dense weights of a block and the head, what the
/// quantizer needs meanwhile.
pub(super) fn words(
    recipe: Recipe,
    config: &Config,
    parameters: &[Parameter],
    half: bool,
) -> [usize; 3] {
    let layers = quantized(recipe, config, parameters);
    let mut total = [0; 3];
    for &i in &layers {
        let [codes, scales, sums, errors] = shape(recipe, &parameters[i], 0).words();
        total[0] += codes + scales;
        total[2] = total[2].max(sums + errors);
    }
    for i in made_dense(recipe, config, parameters, half) {
        let len = parameters[i].len();
        total[1] += if half { len / 2 } else { len };
    }
    if half {
        let largest = layers.iter().map(|&i| parameters[i].len()).max();
        total[2] += largest.unwrap_or(0);
    }
    total
}

/// The exponent of a weight's magnitudes: as [`crate::model::quantize`] chooses it for `len` weights of which the
/// largest has the magnitude `bits`.
fn exponent(bits: u32, len: usize) -> i32 {
    let terms = usize::BITS as i32 - len.saturating_sub(1).leading_zeros() as i32;
    fixed::exponent_of([f32::from_bits(bits)]) + (terms - 28).max(0)
}

impl<B: Backend> Quantizer<B> {
    pub fn new(
        backend: &B,
        recipe: Recipe,
        config: &Config,
        parameters: &[Parameter],
        half: bool,
    ) -> Result<Self> {
        let indices = quantized(recipe, config, parameters);
        let (mut layers, mut shared, mut shares) = (Vec::new(), [1, 1], 1);
        for &parameter in &indices {
            let held = &parameters[parameter];
            let [codes, scales, sums, errors] = shape(recipe, held, 0).words();
            shared = [shared[0].max(sums), shared[1].max(errors)];
            shares += norm_of(held, 0).shares();
            layers.push(Codes {
                parameter,
                codes: backend.alloc("codes", codes)?,
                scales: backend.alloc("scales", scales)?,
            });
        }
        let made = made_dense(recipe, config, parameters, half);
        let dense = |parameter: usize| {
            let words = parameters[parameter].len() / if half { 2 } else { 1 };
            let alloc = || backend.alloc("dense weight", words);
            made.contains(&parameter).then(alloc).transpose()
        };
        let largest = indices.iter().map(|&i| parameters[i].len()).max();
        let staging = largest.filter(|_| half);
        let block = (0..=place::DOWN).map(|p| dense(of_block(0, p)));
        Ok(Self {
            recipe,
            block: block.collect::<Result<_>>()?,
            head: dense(head(config))?,
            held: None,
            head_held: false,
            fresh: false,
            share: 1.0,
            sums: backend.alloc("sums", shared[0])?,
            errors: backend.alloc("errors", shared[1])?,
            staging: staging
                .map(|words| backend.alloc("weight", words))
                .transpose()?,
            squares: backend.alloc("squares", shares)?,
            largest: backend.alloc("largest", shares)?,
            layers,
            half,
            config: config.clone(),
        })
    }

    /// The masters have changed.
    pub fn stale(&mut self) {
        (self.fresh, self.held, self.head_held) = (false, None, false);
    }

    /// Weights are so much quantized and for the rest as they are.
    pub fn set_share(&mut self, share: f64) {
        if self.share != share {
            self.share = share;
            (self.held, self.head_held) = (None, false);
        }
    }

    /// Scales and codes of all layers from the masters, unless they are there.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when a master is NaN, infinite or 2^127 and more.
    pub async fn refresh(
        &mut self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Held<B>],
    ) -> Result<()> {
        if self.fresh {
            return Ok(());
        }
        backend.at(&|| "quantizing".to_owned());
        let exponents = self.exponents(backend, parameters, masters).await?;
        for (layer, exponent) in self.layers.iter().zip(exponents) {
            let master = &masters[layer.parameter].value;
            match shape(self.recipe, &parameters[layer.parameter], exponent) {
                Shape::Phase(piece) => self.phase(backend, layer, piece, master).await?,
                Shape::Baseline(rows) => self.baseline(backend, layer, rows, master).await?,
            }
        }
        self.stale();
        self.fresh = true;
        Ok(())
    }

    async fn exponents(
        &self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Held<B>],
    ) -> Result<Vec<i32>> {
        let mut ends = vec![0];
        for layer in &self.layers {
            let op = norm_of(&parameters[layer.parameter], ends[ends.len() - 1]);
            let buffers = [
                &masters[layer.parameter].value,
                &self.squares,
                &self.largest,
            ];
            backend.run(&op, &buffers).await?;
            ends.push(op.first + op.shares());
        }
        let largest = backend
            .download(&self.largest, 0, ends[ends.len() - 1])
            .await?;
        let mut exponents = Vec::with_capacity(self.layers.len());
        for (layer, range) in self.layers.iter().zip(ends.windows(2)) {
            let parameter = &parameters[layer.parameter];
            let bits = largest[range[0]..range[1]]
                .iter()
                .copied()
                .max()
                .unwrap_or(0);
            let value = f32::from_bits(bits);
            if !value.is_finite() || value >= 2f32.powi(127) {
                return Err(Error::usage(
                    format!("`{}` has grown to {value}", parameter.name),
                    "lower the learning rate, and resume from a checkpoint",
                ));
            }
            exponents.push(exponent(bits, parameter.len()));
        }
        Ok(exponents)
    }

    async fn phase(
        &self,
        backend: &B,
        layer: &Codes<B>,
        piece: Piece,
        master: &B::Buffer,
    ) -> Result<()> {
        for stage in 0..piece.stages {
            let sum = PhaseScale { piece, stage };
            backend
                .run(&sum, &[master, &layer.scales, &self.sums])
                .await?;
            let mean = PhaseMean {
                piece,
                stage,
                least: LEAST_SCALE,
            };
            backend.run(&mean, &[&self.sums, &layer.scales]).await?;
        }
        let buffers = [master, &layer.scales, &layer.codes, &self.errors];
        let pack = PhasePack {
            piece,
            measure: false,
        };
        backend.run(&pack, &buffers).await
    }

    async fn baseline(
        &self,
        backend: &B,
        layer: &Codes<B>,
        rows: Rows,
        master: &B::Buffer,
    ) -> Result<()> {
        backend
            .run(&BaselineSum(rows), &[master, &self.sums])
            .await?;
        backend
            .run(&BaselineMean(rows), &[&self.sums, &layer.scales])
            .await?;
        let buffers = [master, &layer.scales, &layer.codes, &self.errors];
        backend.run(&BaselinePack(rows), &buffers).await
    }

    /// Makes the dense weights of block `l` ready.
    pub async fn enter(
        &mut self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Held<B>],
        l: usize,
    ) -> Result<()> {
        if self.held == Some(l) {
            return Ok(());
        }
        for (place, dense) in self.block.iter().enumerate() {
            if let Some(dense) = dense {
                let i = of_block(l, place);
                self.unpack(backend, &parameters[i], &masters[i].value, i, dense)
                    .await?;
            }
        }
        self.held = Some(l);
        Ok(())
    }

    /// Makes the dense weight of the head ready.
    pub async fn enter_head(
        &mut self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Held<B>],
    ) -> Result<()> {
        if let (Some(dense), false) = (&self.head, self.head_held) {
            let i = head(&self.config);
            self.unpack(backend, &parameters[i], &masters[i].value, i, dense)
                .await?;
        }
        self.head_held = true;
        Ok(())
    }

    async fn unpack(
        &self,
        backend: &B,
        parameter: &Parameter,
        master: &B::Buffer,
        index: usize,
        dense: &B::Buffer,
    ) -> Result<()> {
        backend.at(&|| format!("{}, unpacking", parameter.name));
        let layer = self.layers.iter().find(|l| l.parameter == index);
        let wide = self.staging.as_ref().unwrap_or(dense);
        if let Some(layer) = layer {
            let buffers = [&layer.codes, &layer.scales, wide];
            match shape(self.recipe, parameter, 0) {
                Shape::Phase(piece) => backend.run(&PhaseUnpack { piece }, &buffers).await?,
                Shape::Baseline(rows) => backend.run(&BaselineUnpack(rows), &buffers).await?,
            }
            if self.share < 1.0 {
                let (n, share) = (parameter.len(), self.share as f32);
                backend.run(&Blend { n, share }, &[master, wide]).await?;
            }
        }
        if !self.half {
            return Ok(());
        }
        let halve = Halve {
            rows: parameter.rows,
            columns: parameter.columns,
            stride: parameter.columns,
            first: 0,
        };
        let from = if layer.is_some() { wide } else { master };
        backend.run(&halve, &[from, dense]).await
    }

    /// The dense weight of a linear layer of the block (or of the head) that was entered last; `None` where that is
    /// the master.
    pub fn weight(&self, parameter: usize) -> Option<&B::Buffer> {
        if parameter == EMBED || parameter >= of_block(self.config.layers, 0) {
            return self.head.as_ref();
        }
        let place = (parameter - of_block(0, 0)) % (place::DOWN + 1);
        self.block[place].as_ref()
    }
}

/// The op that finds a parameter's largest magnitude.
fn norm_of(parameter: &Parameter, first: usize) -> GradNorm {
    GradNorm {
        n: parameter.len(),
        first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same grid as for deployment, so that codes are those of the packed model.
    #[test]
    fn exponents_are_those_of_quantizing() {
        assert_eq!(exponent(0.75f32.to_bits(), 1000), 0);
        assert_eq!(exponent(1f32.to_bits(), 1 << 28), 1);
        assert_eq!(exponent(1f32.to_bits(), (1 << 28) + 1), 2);
    }
}
