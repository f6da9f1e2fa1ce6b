//! What a text does to a model: what enters its linear layers, and what quantizing does to what leaves them.
//!
//! The full-precision model runs over the text. Before each stack of layers, its input is looked at, and the same
//! stack of the model quantized in T = 1 to 4 stages is given the same full-precision input: errors of outputs are those
//! of one layer alone, not of all the layers before it.

use super::layer::{Kind, kinds};
use super::outliers::top_share;
use super::parallel::map_rows;
use crate::backend::{Device, block_on};
use crate::error::{Error, Result};
use crate::generate::{ModelFiles, Options};
use crate::model::blueprint::StackIndex;
use crate::model::tap::{Tap, Tapped};
use crate::model::{Config, Granularity, Method, Model, Recipe};
use crate::ops::quantize::Activations;
use serde::Serialize;
use std::ops::Range;

/// A text, and what runs it.
pub struct TextOptions<'a> {
    /// Where the models live: the full-precision one and four quantized ones, beside each other.
    pub device: &'a Device,
    /// Token ids, at least one.
    pub ids: &'a [u32],
    /// Stages, 1 to 4, of the model that [`OutputError::relative_error`] is about; the others are measured, too.
    pub stages: usize,
    /// Which weights share scales in the quantized models.
    pub granularity: Granularity,
    /// How activations enter the layers of the quantized models.
    pub activations: Activations,
}

/// What the text showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Activity {
    /// Tokens of the text.
    pub tokens: usize,
    /// Stages of the model that [`OutputError::relative_error`] is about.
    pub stages: usize,
    /// Which weights share scales in the quantized models.
    pub granularity: String,
    /// How activations entered the layers of the quantized models: 16 or 8 bits, or floats.
    pub activations: &'static str,
    /// Inputs of the stacks of layers, in forward order.
    pub inputs: Vec<InputStats>,
    /// Outputs of the layers, in forward order; none for a packed model.
    pub outputs: Vec<OutputError>,
}

/// What enters layers that share their input, after the norm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InputStats {
    /// Names of the layers.
    pub layers: Vec<String>,
    /// Block; none for the head.
    pub block: Option<usize>,
    /// Kinds of the layers.
    pub kinds: Vec<Kind>,
    /// Inputs (channels) of the layers.
    pub columns: usize,
    /// Largest magnitude of all tokens.
    pub largest: f64,
    /// The channel in which it stands.
    pub largest_channel: usize,
    /// The token at which it stands, counted from 0.
    pub largest_token: usize,
    /// Root mean square.
    pub rms: f64,
    /// Mean over tokens of a token's largest magnitude over its root mean square.
    pub largest_over_rms: f64,
    /// Share of the sum of squares that the heaviest hundredth (at least one) of the channels has.
    pub top_channels: f64,
    /// `|round(x) - x| / |x|` when each token is rounded to 16 bits.
    pub error_16: f64,
    /// The same for 8 bits.
    pub error_8: f64,
}

/// What quantizing does to a layer's output when its input is that of the full-precision model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputError {
    /// Name of the layer.
    pub layer: String,
    /// Root mean square of the full-precision output.
    pub rms: f64,
    /// `|y_q - y| / |y|` at the stages that were asked for; none for an output of zeros.
    pub relative_error: Option<f64>,
    /// The same at T = 1 to 4.
    pub by_stages: Option<[f64; 4]>,
}

/// Most tokens that see each other.
const WINDOW: usize = 1024;
/// Most tokens at once: the outputs of a large head for them fit the bindings of small devices.
const BATCH: usize = 256;

impl TextOptions<'_> {
    /// Steps of progress that a text takes: loading five models, then looking at them.
    pub(super) fn steps(&self) -> usize {
        6
    }
}

/// Runs the text through `files`; `next` hears what comes before each of [`TextOptions::steps`] steps.
pub(super) fn activity(
    files: &ModelFiles,
    text: &TextOptions<'_>,
    allow_nonfinite: bool,
    next: &mut dyn FnMut(&str),
) -> Result<Activity> {
    if text.ids.is_empty() {
        return Err(Error::usage("the text has no tokens", "give a longer text"));
    }
    if !(1..=4).contains(&text.stages) {
        let what = format!("{} stages", text.stages);
        return Err(Error::usage(what, "choose 1 to 4"));
    }
    let window = files.config().context.min(WINDOW).min(text.ids.len());
    let load =
        |method, activations| load(files, text, method, activations, window, allow_nonfinite);
    next("loading the model");
    let model = match files.recipe() {
        Some(packed) => load(packed.method, text.activations)?,
        None => load(Method::Full, Activations::Float)?,
    };
    let mut quantized = Vec::new();
    for stages in 1..=4 {
        next(&format!("quantizing in {stages} stage(s)"));
        if files.recipe().is_none() {
            quantized.push(load(Method::Phase { stages }, text.activations)?);
        }
    }
    next("running the text");
    let mut watch = Watch::new(files.config(), &quantized);
    block_on(text.device, async {
        let mut session = model.session()?;
        for ids in text.ids.chunks(window) {
            session.rewind(0);
            session.feed_tapped(ids, &mut watch).await?;
        }
        Ok(())
    })?;
    let (inputs, outputs) = watch.finish(text.stages);
    Ok(Activity {
        tokens: text.ids.len(),
        stages: text.stages,
        granularity: text.granularity.to_string(),
        activations: text.activations.word(),
        inputs,
        outputs,
    })
}

fn load(
    files: &ModelFiles,
    text: &TextOptions<'_>,
    method: Method,
    activations: Activations,
    context: usize,
    allow_nonfinite: bool,
) -> Result<Model<Device>> {
    let recipe = Recipe {
        method,
        granularity: text.granularity,
        skip_head: false,
        rotated: false,
    };
    let options = Options {
        recipe: files.recipe().or(Some(recipe)),
        stages: None,
        draft: None,
        activations,
        context: Some(context),
        batch: context.min(BATCH),
        kv: None,
        swa_full: false,
        exact: true, // the error of half-precision products would hide that of 16-bit activations
        allow_nonfinite,
    };
    let mut quiet = |_: &str| {};
    block_on(
        text.device,
        files.weights_on(text.device, options, &mut quiet),
    )
}

/// Adds up what is seen at each stack.
struct Watch<'a> {
    config: &'a Config,
    quantized: &'a [Model<Device>],
    sites: Vec<Site>,
    /// Tokens of batches that every stack has seen.
    tokens: usize,
}

/// Sums over tokens at one stack.
#[derive(Default)]
struct Site {
    columns: usize,
    rows: usize,
    /// Largest magnitude, its channel and its token.
    largest: (f32, usize, usize),
    ratios: f64,
    channels: Vec<f64>,
    /// Squared errors of rounding to 16 and to 8 bits.
    rounding: [f64; 2],
    layers: Vec<Output>,
}

/// Sums over the outputs of one layer.
#[derive(Clone, Copy, Default)]
struct Output {
    values: usize,
    power: f64,
    errors: [f64; 4],
}

impl Tap<Device> for Watch<'_> {
    async fn before(&mut self, at: Tapped<'_, Device>) -> Result<()> {
        let n_stacks = self.config.blueprint().stacks.len();
        let index = match at.stack {
            StackIndex::Block { block, stack } => n_stacks * block + stack,
            StackIndex::Head => n_stacks * self.config.layers,
        };
        let site = &mut self.sites[index];
        let x = at.input().await?;
        site.add_input(&x, at.columns(), self.tokens);
        for (sum, mode) in site
            .rounding
            .iter_mut()
            .zip([Activations::Int16, Activations::Int8])
        {
            let rounded = at.rounded(mode).await?;
            *sum += differences(&rounded, &x, at.columns(), 0..at.columns()).0;
        }
        if !self.quantized.is_empty() {
            let y = at.outputs_of(at.model).await?;
            for (stages, model) in self.quantized.iter().enumerate() {
                let quantized = at.outputs_of(model).await?;
                site.add_outputs(&quantized, &y, at.segments(), stages);
            }
        }
        if at.stack == StackIndex::Head {
            self.tokens += at.rows;
        }
        Ok(())
    }
}

impl Site {
    fn add_input(&mut self, x: &[f32], columns: usize, first_token: usize) {
        self.columns = columns;
        self.channels.resize(columns, 0.0);
        for (token, row) in x.chunks_exact(columns).enumerate() {
            let (mut power, mut top) = (0.0, 0f32);
            for (channel, (&x, sum)) in row.iter().zip(&mut self.channels).enumerate() {
                let square = f64::from(x) * f64::from(x);
                power += square;
                *sum += square;
                top = top.max(x.abs());
                if x.abs() > self.largest.0 {
                    self.largest = (x.abs(), channel, first_token + token);
                }
            }
            let rms = (power / columns as f64).sqrt();
            self.ratios += if rms > 0.0 { f64::from(top) / rms } else { 0.0 };
            self.rows += 1;
        }
    }

    fn add_outputs(&mut self, quantized: &[f32], y: &[f32], segments: &[usize], stages: usize) {
        let outputs = segments.iter().sum();
        self.layers.resize(segments.len(), Output::default());
        let mut first = 0;
        for (layer, &segment) in self.layers.iter_mut().zip(segments) {
            let (error, power) = differences(quantized, y, outputs, first..first + segment);
            layer.errors[stages] += error;
            if stages == 0 {
                layer.power += power;
                layer.values += y.len() / outputs * segment;
            }
            first += segment;
        }
    }

    /// Sums as they are reported, of those layers of the model.
    fn finish(
        self,
        config: &Config,
        layers: Range<usize>,
        stages: usize,
    ) -> (InputStats, impl Iterator<Item = OutputError>) {
        let linears = config.linears().into_iter();
        let names = linears.skip(layers.start).take(layers.len());
        let names: Vec<String> = names.map(|shape| shape.prefix).collect();
        let kinds = kinds(config);
        let power: f64 = self.channels.iter().sum();
        let share = |x: f64| if power > 0.0 { x } else { 0.0 };
        let values = (self.rows * self.columns).max(1) as f64;
        let outputs = names.clone().into_iter().zip(self.layers);
        let stats = InputStats {
            block: kinds[layers.start].0,
            kinds: kinds[layers].iter().map(|(_, kind)| *kind).collect(),
            layers: names,
            columns: self.columns,
            largest: self.largest.0.into(),
            largest_channel: self.largest.1,
            largest_token: self.largest.2,
            rms: (power / values).sqrt(),
            largest_over_rms: self.ratios / self.rows.max(1) as f64,
            error_16: share((self.rounding[0] / power).sqrt()),
            error_8: share((self.rounding[1] / power).sqrt()),
            top_channels: share(top_share(self.channels)),
        };
        let outputs = outputs.map(move |(layer, sums)| {
            let relative = |error: f64| (error / sums.power).sqrt();
            let by_stages = (sums.power > 0.0).then(|| sums.errors.map(relative));
            OutputError {
                layer,
                rms: (sums.power / sums.values.max(1) as f64).sqrt(),
                relative_error: by_stages.map(|errors| errors[stages - 1]),
                by_stages,
            }
        });
        (stats, outputs)
    }
}

/// `|a - b|^2` and `|b|^2` over the columns `part` of rows of `columns`.
fn differences(a: &[f32], b: &[f32], columns: usize, part: Range<usize>) -> (f64, f64) {
    let chunks = map_rows(b.len() / columns, part.len(), |rows| {
        let mut sums = (0.0, 0.0);
        for row in rows {
            let at = row * columns + part.start..row * columns + part.end;
            for (&a, &b) in a[at.clone()].iter().zip(&b[at]) {
                let error = f64::from(a) - f64::from(b);
                sums.0 += error * error;
                sums.1 += f64::from(b) * f64::from(b);
            }
        }
        sums
    });
    let add = |all: (f64, f64), one: (f64, f64)| (all.0 + one.0, all.1 + one.1);
    chunks.into_iter().fold((0.0, 0.0), add)
}

impl<'a> Watch<'a> {
    fn new(config: &'a Config, quantized: &'a [Model<Device>]) -> Self {
        let in_blocks = config.blueprint().stacks.len() * config.layers;
        let sites = (0..=in_blocks).map(|_| Site::default());
        Self {
            config,
            quantized,
            sites: sites.collect(),
            tokens: 0,
        }
    }

    fn finish(self, stages: usize) -> (Vec<InputStats>, Vec<OutputError>) {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        let mut first = 0;
        let stacks = self.config.blueprint().stacks;
        let counts = (0..self.config.layers).flat_map(|_| stacks.iter().map(|s| s.layers.len()));
        for (count, site) in counts.chain([1]).zip(self.sites) {
            let (stats, made) = site.finish(self.config, first..first + count, stages);
            inputs.push(stats);
            outputs.extend(made);
            first += count;
        }
        (inputs, outputs)
    }
}
