//! Training block by block, for models whose masters and moments do not fit a device.
//!
//! One block after the other is trained by itself, with learned scales, to make of the residual streams of the model whose
//! blocks so far are quantized what the full-precision block makes of full-precision ones; the head learns to say what the
//! full-precision head says. Then the codes stay, and all scales and norms are trained together: rounding masters anew
//! would undo what the blocks have learned. The last residual streams in full precision are those of the teacher, so that
//! no second model is needed.

mod norms;
mod task;

pub(super) use task::Task;

use super::report::bug;
use super::tune::{Chosen, Tuned, factor, one, repeated};
use super::{CalibratedBlock, Step};
use crate::backend::{Backend, Device, block_on, upload_new};
use crate::error::{Error, Result};
use crate::files::corpus::Order;
use crate::files::layers::Layers;
use crate::model::config::LinearShape;
use crate::model::weights::required;
use crate::model::{Config, Packed, finite};
use crate::train::step::{Scope, StepReport, Trainer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

type Buffer = <Device as Backend>::Buffer;

/// A run over all blocks.
struct Run<'a> {
    of: Task<'a>,
    length: usize,
    texts: Vec<&'a Vec<u32>>,
    /// Residual streams of the sequences, [length, hidden] each: of the full-precision model, and of the one whose blocks so
    /// far are quantized.
    full: Vec<Buffer>,
    quantized: Vec<Buffer>,
    finished: &'a Layers,
    layers: BTreeMap<String, Packed>,
    norms: norms::Norms,
    report: Vec<CalibratedBlock>,
}

/// A block (or the head) that was trained by itself.
struct Made {
    layers: BTreeMap<String, Packed>,
    note: Note,
}

/// What is kept with each of its layers.
#[derive(Serialize, Deserialize)]
struct Note {
    losses: [f64; 2],
    /// Norms by their names, as bits.
    norms: norms::Norms,
}

/// A step on some sequences, with a learning rate.
type OneStep<'s> = &'s dyn Fn(&mut Trainer<&Device>, &[usize], f64) -> Result<StepReport>;

/// Who hears how far it is.
type Hears<'h> = &'h mut dyn FnMut(Step<'_>);

/// Trains block by block, on the sequences that are as long as the longest. Blocks that `finished` has are taken over.
///
/// # Errors
/// [`Error::Device`] when memory does not suffice, failures of the device, those of reading and writing `finished`.
pub(super) fn by_blocks(
    of: Task<'_>,
    sequences: &[Vec<u32>],
    finished: &Layers,
    progress: Hears<'_>,
) -> Result<Tuned> {
    let mut run = Run::new(of, sequences, finished)?;
    for l in 0..of.config.layers {
        run.block(l, progress)?;
    }
    if !of.recipe.skip_head {
        run.head(progress)?;
    }
    run.together(progress)
}

impl<'a> Run<'a> {
    fn new(of: Task<'a>, sequences: &'a [Vec<u32>], finished: &'a Layers) -> Result<Self> {
        let length = sequences.iter().map(Vec::len).max().unwrap_or(0);
        let texts: Vec<_> = sequences.iter().filter(|s| s.len() == length).collect();
        of.check(texts.len() * length, length)?;
        let mut run = Self {
            of,
            length,
            texts,
            full: Vec::new(),
            quantized: Vec::new(),
            finished,
            layers: BTreeMap::new(),
            norms: Vec::new(),
            report: Vec::new(),
        };
        let name = of.config.embed_name();
        let embed = required(of.weights, &name)?;
        let embed = finite::numbers(&name, embed, of.weights.allow_nonfinite())?;
        let (hidden, vocab) = (of.config.hidden, of.config.vocab);
        for ids in &run.texts {
            if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
                return Err(Error::usage(
                    format!("token id {id} is beyond the vocabulary of {vocab}"),
                    "use the tokenizer that belongs to the model",
                ));
            }
            let row = |&id: &u32| embed.to_f32(id as usize * hidden..(id as usize + 1) * hidden);
            let stream: Vec<f32> = ids.iter().flat_map(row).collect();
            for streams in [&mut run.full, &mut run.quantized] {
                let words = bytemuck::cast_slice(&stream);
                streams.push(upload_new(of.device, "residual stream", words)?);
            }
        }
        Ok(run)
    }

    /// Block number `l`, and both streams through it.
    fn block(&mut self, l: usize, progress: Hears<'_>) -> Result<()> {
        let (of, length) = (self.of, self.length);
        let options = of.fitting(Scope::Block(l), length)?;
        let mut trainer = Trainer::load(of.device, of.config, of.weights, options)?;
        let full: Vec<_> = self.full.iter().collect();
        block_on(of.device, trainer.advance(&full, length, true))?;
        let (name, layers) = (of.config.block_name(l), of.config.block_linears(l));
        let made = match self.made(&layers, progress)? {
            Some(made) => made,
            None => {
                let variance = self.variance()?;
                let step = |trainer: &mut Trainer<&Device>, chosen: &[usize], lr| {
                    let pair = |&i: &usize| [&self.quantized[i], &self.full[i]];
                    let pairs: Vec<_> = chosen.iter().map(pair).collect();
                    let step = trainer.step_towards(&pairs, length, variance, lr);
                    block_on(of.device, step)
                };
                let losses = self.train(&mut trainer, &name, &step, progress)?;
                self.keep(&mut trainer, &layers, (&format!("{name}."), losses))?
            }
        };
        trainer.hold(&made.layers)?;
        norms::write(&mut trainer, &made.note.norms)?;
        let quantized: Vec<_> = self.quantized.iter().collect();
        block_on(of.device, trainer.advance(&quantized, length, false))?;
        self.take(name, made);
        Ok(())
    }

    /// The head, which learns what the full-precision head says.
    fn head(&mut self, progress: Hears<'_>) -> Result<()> {
        let (of, length) = (self.of, self.length);
        let layers = [of.config.head()];
        let made = match self.made(&layers, progress)? {
            Some(made) => made,
            None => {
                let options = of.fitting(Scope::Head, length)?;
                let mut trainer = Trainer::load(of.device, of.config, of.weights, options)?;
                trainer.teach(of.weights)?;
                let step = |trainer: &mut Trainer<&Device>, chosen: &[usize], lr| {
                    let ids = self.ids(chosen);
                    let of_texts = Chosen {
                        ids: &ids,
                        length,
                        inputs: chosen.iter().map(|&i| &self.quantized[i]).collect(),
                        teacher: chosen.iter().map(|&i| &self.full[i]).collect(),
                    };
                    one(of.device, trainer, &of_texts, lr)
                };
                let losses = self.train(&mut trainer, Config::HEAD, &step, progress)?;
                self.keep(&mut trainer, &layers, (&of.config.norm_name(), losses))?
            }
        };
        self.take(Config::HEAD.to_owned(), made);
        Ok(())
    }

    /// Scales and norms of all layers, whose codes stay.
    fn together(mut self, progress: Hears<'_>) -> Result<Tuned> {
        self.quantized.clear(); // the trained model reads tokens
        let (of, length) = (self.of, self.length);
        let options = of.fitting(Scope::Scales, length)?;
        let mut trainer = Trainer::load(of.device, of.config, of.weights, options)?;
        norms::write(&mut trainer, &self.norms)?;
        trainer.hold(&self.layers)?;
        let taught = of.tuning.distill > 0.0;
        if taught {
            trainer.teach(of.weights)?;
        }
        let mut order = Order::new(of.seed);
        let mut losses = [0.0; 2];
        for step in 0..of.tuning.steps {
            let chosen = self.next(&mut order, of.tuning.batch);
            let ids = self.ids(&chosen);
            let states = chosen.iter().map(|&i| &self.full[i]).filter(|_| taught);
            let of_texts = Chosen {
                ids: &ids,
                length,
                inputs: Vec::new(),
                teacher: states.collect(),
            };
            let lr = of.tuning.lr * factor(step, of.tuning.steps);
            let loss = one(of.device, &mut trainer, &of_texts, lr)?.loss;
            note(&mut losses, step, loss);
            let (step, of) = (step + 1, of.tuning.steps);
            progress(Step::Tuned { step, of, loss });
        }
        let norms = norms::read(of.device, &trainer, "model.")?.into_iter();
        let norm = |(name, bits): (String, Vec<u32>)| {
            let values: Vec<f32> = bytemuck::cast_vec(bits);
            (name, (vec![values.len()], values))
        };
        Ok(Tuned {
            layers: block_on(of.device, trainer.packed())?.into_iter().collect(),
            dense: norms.map(norm).collect(),
            losses,
            how: of.tuning,
            micro_batch: trainer.options().n_seqs,
            blocks: self.report,
        })
    }

    /// All steps of a block or the head; losses of the first and the last.
    fn train(
        &self,
        trainer: &mut Trainer<&Device>,
        name: &str,
        step: OneStep<'_>,
        progress: Hears<'_>,
    ) -> Result<[f64; 2]> {
        let (lr, each) = (self.of.tuning.lr, self.of.each);
        let mut order = Order::new(self.of.seed);
        let mut losses = [0.0; 2];
        for i in 0..each.steps {
            let chosen = self.next(&mut order, each.batch);
            let lr = lr * factor(i, each.steps);
            let loss = repeated(&mut || step(trainer, &chosen, lr))?.loss;
            note(&mut losses, i, loss);
            progress(Step::Block {
                name,
                step: i + 1,
                of: each.steps,
                loss,
            });
        }
        Ok(losses)
    }

    /// The sequences of the next step.
    fn next(&self, order: &mut Order, count: usize) -> Vec<usize> {
        let next = (0..count).filter_map(|_| order.next(self.texts.len() as u64));
        next.map(|i| i as usize).collect()
    }

    fn ids(&self, chosen: &[usize]) -> Vec<u32> {
        let texts = chosen.iter().map(|&i| self.texts[i]);
        texts.flatten().copied().collect()
    }

    /// Variance of the values of the full-precision streams, each column around its mean.
    fn variance(&self) -> Result<f64> {
        let (device, hidden) = (self.of.device, self.of.config.hidden);
        let (mut sums, mut squares) = (vec![0.0; hidden], 0.0);
        for stream in &self.full {
            let words = device.download(stream, 0, self.length * hidden);
            for row in block_on(device, words)?.chunks_exact(hidden) {
                for (sum, &word) in sums.iter_mut().zip(row) {
                    let value = f64::from(f32::from_bits(word));
                    *sum += value;
                    squares += value * value;
                }
            }
        }
        let rows = (self.full.len() * self.length) as f64;
        let means: f64 = sums.iter().map(|sum| (sum / rows).powi(2)).sum();
        Ok((squares / rows - means) / hidden as f64)
    }

    /// What an earlier run made of layers, if it was all of them.
    fn made(&self, layers: &[LinearShape], progress: Hears<'_>) -> Result<Option<Made>> {
        let recipe = self.of.recipe;
        let (mut all, mut last) = (BTreeMap::new(), None);
        for layer in layers {
            let method = recipe.method.of(&layer.prefix);
            let read = self.finished.read(layer, method, recipe.granularity)?;
            let Some((packed, note)) = read else {
                return Ok(None);
            };
            all.insert(layer.prefix.clone(), packed);
            last = Some(note);
        }
        let note = last.and_then(|note| serde_json::from_str(&note).ok());
        if note.is_some() {
            progress(Step::Resumed(self.layers.len() + all.len()));
        }
        Ok(note.map(|note| Made { layers: all, note }))
    }

    /// Keeps layers as training has left them, with the norms whose names begin so.
    fn keep(
        &self,
        trainer: &mut Trainer<&Device>,
        layers: &[LinearShape],
        (norms, losses): (&str, [f64; 2]),
    ) -> Result<Made> {
        let device = self.of.device;
        let packed: BTreeMap<_, _> = block_on(device, trainer.packed())?.into_iter().collect();
        let note = Note {
            losses,
            norms: norms::read(device, trainer, norms)?,
        };
        let text = serde_json::to_string(&note).map_err(bug)?;
        for layer in layers {
            self.finished.write(layer, &packed[&layer.prefix], &text)?;
        }
        Ok(Made {
            layers: packed,
            note,
        })
    }

    /// Goes on with what was made.
    fn take(&mut self, name: String, made: Made) {
        self.layers.extend(made.layers);
        self.norms.extend(made.note.norms);
        let losses = made.note.losses;
        self.report.push(CalibratedBlock { name, losses });
    }
}

/// Notes a loss as the last one, and the first as both.
fn note(losses: &mut [f64; 2], step: u64, loss: f64) {
    match step {
        0 => *losses = [loss; 2],
        _ => losses[1] = loss,
    }
}
