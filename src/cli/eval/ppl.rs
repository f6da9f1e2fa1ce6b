//! `eval ppl`: perplexity of texts.

use super::report::{self, Row};
use super::{Candidate, Entry, EntryArgs, load, within};
use crate::backend::{Backend, Device, block_on};
use crate::cli::args::{ActivationName, DeviceArgs};
use crate::cli::{device, out, ranks, source};
use crate::error::{Error, Result};
use crate::evaluate::{self, Cutting, Difference, Divergence, Measured, Protocol, Text, Words};
use crate::generate::ModelFiles;
use crate::model::Model;
use crate::ranks::Ranks;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Perplexity of texts: .txt, .jsonl or .parquet, also .gz and .zst; a file of another name is plain text.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu eval ppl wiki.test.raw                          the built-in model
  fairy2i-gpu eval ppl -m llama-folder --protocol paper wiki.test.raw
  fairy2i-gpu eval ppl -m llama-folder --protocol llama-perplexity --block 512 wiki.test.raw
                                                  comparable with llama.cpp's
  fairy2i-gpu eval ppl -m llama-folder --stages full,1,2,3 --granularity tensor,row --json text.txt
                                                  every combination, quantized while loading
  mpirun -n 4 fairy2i-gpu eval ppl -m llama-folder text.txt     a share of the text on each of four devices
  fairy2i-gpu eval ppl -m packed-folder --reference llama-folder text.txt
                                                  also the divergence from the original's predictions

One row a model and text. The difference is the mean loss against the first row of the same text, token by token; a star
says that it is more than noise (1.96 standard errors).")]
pub(super) struct Ppl {
    /// Texts
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    entries: EntryArgs,
    /// How texts are cut, and which tokens count
    #[arg(long, value_enum, default_value = "blocks")]
    protocol: Protocol,
    /// Tokens of a window [default: 2048, or the model's context if shorter; llama-perplexity: 512]
    #[arg(long, short = 'c', visible_alias = "ctx-size", value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    block: Option<u64>,
    /// From window to window of `--protocol strided` [default: half a window]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    stride: Option<u64>,
    /// Also measure how far predictions are from those of this model (as llama.cpp's --kl-divergence)
    #[arg(long, value_name = "FOLDER", visible_alias = "kl-divergence")]
    reference: Option<PathBuf>,
    /// Print a JSON list: for each model and text file, tokens, mean_nll, standard_error, ppl, bits_per_byte and more
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// The texts of one tokenizer.
struct Cut {
    tokenizer: String,
    ends: (Option<u32>, Option<u32>),
    cutting: Cutting,
    texts: Vec<Text>,
}

/// A text as an entry scored it.
struct Scored<'a> {
    text: &'a Text,
    measured: Measured,
    took: Duration,
}

impl Ppl {
    /// The models that it names.
    pub(super) fn models(&mut self) -> Vec<&mut PathBuf> {
        let named = self.entries.model.iter_mut();
        named.chain(&mut self.reference).collect()
    }

    /// Measures and prints. Ranks have their share of each text.
    pub(super) fn run(self) -> Result<()> {
        let ranks = ranks::open()?;
        ranks::end(&*ranks, self.run_among(&*ranks))
    }

    fn run_among(&self, ranks: &dyn Ranks) -> Result<()> {
        let candidates = self.entries.candidates()?;
        let mut cuts: Vec<Cut> = Vec::new();
        let which = candidates.iter().map(|c| self.cut(&c.files, &mut cuts));
        let which: Vec<usize> = which.collect::<Result<_>>()?;
        let device = device::open_for(&self.device, ranks, false)?;
        let longest = cuts.iter().map(|cut| cut.cutting.length).max();
        let show = ranks.rank() == 0 && !self.json;
        let reference = self.reference((&device, show), longest.unwrap_or(0))?;
        let mut first: Vec<Option<Measured>> = self.files.iter().map(|_| None).collect();
        let mut rows = Vec::new();
        for (candidate, &cut) in candidates.iter().zip(&which) {
            let cut = &cuts[cut];
            for entry in &candidate.entries {
                let on = (&device, ranks, reference.as_ref());
                let scored = self.measure(candidate, entry, cut, on)?;
                for (scored, base) in scored.into_iter().zip(&mut first) {
                    let base_of = |base: &Measured| Difference::of(&scored.measured, base);
                    let difference = base.as_ref().and_then(base_of);
                    let name = candidate.name.clone();
                    rows.push(row(name, entry, cut.cutting, &scored, difference));
                    base.get_or_insert(scored.measured);
                }
            }
        }
        if ranks.rank() > 0 {
            return Ok(());
        }
        device::report_check(&device);
        match self.json {
            true => out::json(&rows),
            false => report::print(&rows, &device.name()),
        }
    }

    /// The index in `cuts` of the texts as `files`' tokenizer makes them.
    fn cut(&self, files: &ModelFiles, cuts: &mut Vec<Cut>) -> Result<usize> {
        let cutting = self.cutting(files)?;
        let words = Words::of(files.opened())?;
        let (tokenizer, ends) = (words.tokenizer.sha256(), (words.bos, words.eos));
        let same = |c: &Cut| c.tokenizer == tokenizer && c.ends == ends && c.cutting == cutting;
        if let Some(index) = cuts.iter().position(same) {
            return Ok(index);
        }
        let texts = evaluate::protocol::open(&self.files, cutting, &words)?;
        cuts.push(Cut {
            tokenizer: tokenizer.to_owned(),
            ends,
            cutting,
            texts,
        });
        Ok(cuts.len() - 1)
    }

    fn cutting(&self, files: &ModelFiles) -> Result<Cutting> {
        let usual = match self.protocol {
            Protocol::LlamaPerplexity => 512,
            _ => 2048,
        };
        let asked = self.block.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let length = asked.unwrap_or(usual.min(files.config().context));
        within(files, length, "--block")?;
        let stride = match self.stride {
            Some(_) if self.protocol != Protocol::Strided => {
                let hint = "say --protocol strided, or drop it";
                return Err(Error::usage("--stride is for --protocol strided", hint));
            }
            Some(n) if n as usize > length => {
                let hint = format!("give at most {length}");
                return Err(Error::usage(
                    format!("--stride {n} leaves tokens out between windows of {length}"),
                    hint,
                ));
            }
            asked => asked.map_or(length / 2, |n| n as usize),
        };
        Ok(Cutting {
            protocol: self.protocol,
            length,
            stride,
        })
    }

    /// The reference, as it is stored and with float activations.
    fn reference(
        &self,
        (device, show): (&Device, bool),
        length: usize,
    ) -> Result<Option<Model<Device>>> {
        let Some(path) = self.reference.as_deref() else {
            return Ok(None);
        };
        let files = ModelFiles::from(source::open(Some(path))?);
        within(&files, length, "--block")?;
        let entry = Entry {
            recipe: files.resolve(None)?,
            activations: ActivationName::Float,
        };
        let options = self.entries.options(&entry, length);
        load(&files, device, options, show).map(Some)
    }

    /// Every text under one entry.
    fn measure<'a>(
        &self,
        candidate: &Candidate,
        entry: &Entry,
        cut: &'a Cut,
        (device, ranks, reference): (&Device, &dyn Ranks, Option<&Model<Device>>),
    ) -> Result<Vec<Scored<'a>>> {
        let options = self.entries.options(entry, cut.cutting.length);
        let leads = ranks.rank() == 0;
        let model = load(&candidate.files, device, options, leads && !self.json)?;
        let mut all = Vec::new();
        for text in &cut.texts {
            let tokens: usize = text.windows.iter().map(|w| w.tokens.len()).sum();
            let own = tokens.div_ceil(ranks.size());
            let bar = out::progress(leads, own);
            bar.set_message(text.name.clone());
            let begun = Instant::now();
            let mut progress = |done: usize| bar.set_position(done as u64);
            let progress = &mut progress;
            let measured = evaluate::perplexity_among(&model, reference, text, ranks, progress);
            let measured = block_on(device, measured);
            bar.finish_and_clear();
            let (measured, took) = (measured?, begun.elapsed());
            let speed = tokens as f64 / took.as_secs_f64();
            if leads {
                out::note(&format!(
                    "{}, {}: {}, perplexity {:.4}, {tokens} tokens at {speed:.0} tokens/s",
                    candidate.name,
                    entry.recipe,
                    text.name,
                    measured.summary().ppl,
                ));
            }
            all.push(Scored {
                text,
                measured,
                took,
            });
        }
        Ok(all)
    }
}

fn row(
    model: String,
    entry: &Entry,
    cutting: Cutting,
    scored: &Scored<'_>,
    difference: Option<Difference>,
) -> Row {
    let windows = &scored.text.windows;
    let seen: usize = windows.iter().map(|w| w.tokens.len()).sum();
    let strided = cutting.protocol == Protocol::Strided;
    Row {
        model,
        method: entry.recipe.to_string(),
        stages: entry.stages(),
        activations: entry.activations.word(),
        file: scored.text.path.display().to_string(),
        name: scored.text.name.clone(),
        protocol: cutting.protocol,
        block: cutting.length,
        stride: strided.then_some(cutting.stride),
        windows: windows.len(),
        summary: scored.measured.summary(),
        difference,
        divergence: Divergence::of(&scored.measured),
        seconds: scored.took.as_secs_f64(),
        tokens_per_second: seen as f64 / scored.took.as_secs_f64(),
    }
}
