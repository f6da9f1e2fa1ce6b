//! `analyze`: a look inside a model's weights.

use super::args::{ActivationName, DeviceArgs};
use super::{device, out, source};
use crate::backend::Device;
use crate::builtin;
use crate::error::{Error, Result};
use crate::evaluate::analysis::{Analysis, AnalysisOptions, Progress, TextOptions, analyze, html};
use crate::files::Inputs;
use crate::files::corpus::texts::Content;
use crate::generate::ModelFiles;
use crate::model::Granularity;
use clap::Args;
use report::Report;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

mod padding;
mod report;
mod tables;

/// Look inside a model's weights: angles, scales, errors of stages and granularities, outliers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fairy2i-gpu analyze llama-folder                             tables
  fairy2i-gpu analyze llama-folder --html report.html          the same with plots, in one file
  fairy2i-gpu analyze -m llama-folder --text novel.txt --json  what enters the layers, and the error of what leaves them

Every weight R is taken apart into U and W (y = U x + W conj(x)) and quantized in 1 to 4 stages. Relative errors are
|Rq - R| / |R|, those of outputs |yq - y| / |y| for the full-precision model's inputs. A packed folder has lost its
weights: of it, codes and scales are shown.")]
pub(super) struct Analyze {
    /// Model: a Hugging Face folder, full precision or packed, or a GGUF file [default: the built-in model]
    #[arg(value_name = "MODEL", conflicts_with = "named")]
    model: Option<PathBuf>,
    /// The same, as other commands have it
    #[arg(short = 'm', long = "model", value_name = "FOLDER")]
    named: Option<PathBuf>,
    /// Also write a report with plots: one HTML file that needs no other
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Replace the HTML file if it exists
    #[arg(long, requires = "html")]
    force: bool,
    /// Print one JSON object with everything instead of tables
    #[arg(long)]
    json: bool,
    /// Go on when weights are NaN or infinite: they count as 0
    #[arg(long)]
    allow_nonfinite: bool,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A text to run through the model.
#[derive(Debug, Args)]
#[command(next_help_heading = "Text")]
struct TextArgs {
    /// Run the beginning of this text (.txt, .jsonl or .parquet, also .gz and .zst) through the model, and see what enters
    /// and leaves its layers
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Tokens of the text
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..), requires = "text")]
    tokens: u32,
    /// Stages of the quantized model whose errors of outputs are spoken of; 1 to 4 are all measured
    #[arg(long, value_name = "1..4", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=4), requires = "text")]
    stages: u8,
    /// Which weights share scales: tensor, row, or group:N complex inputs of a row (N a multiple of 16)
    #[arg(long, default_value = "tensor", value_parser = Granularity::from_str, requires = "text")]
    granularity: Granularity,
    /// How activations enter the layers of the quantized models
    #[arg(long, value_enum, default_value = "16", requires = "text")]
    activations: ActivationName,
}

impl Analyze {
    /// The models that it names.
    pub(super) fn models(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.model.iter_mut().chain(&mut self.named)
    }

    /// Looks, and prints what it saw.
    pub(super) fn run(self) -> Result<()> {
        let path = self.model.as_deref().or(self.named.as_deref());
        self.check_html(path)?;
        let files = ModelFiles::from(source::open(path)?);
        let ids = self.ids(&files)?;
        let device = self.open_device(&files, ids.is_some())?;
        let text = match (&ids, &device) {
            (Some(ids), Some(device)) => Some(TextOptions {
                device,
                ids,
                stages: self.text.stages.into(),
                granularity: self.text.granularity,
                activations: self.text.activations.into(),
            }),
            _ => None,
        };
        let options = AnalysisOptions {
            allow_nonfinite: self.allow_nonfinite,
            text,
        };
        let analysis = self.look(&files, &options)?;
        let times = match &device {
            Some(device) => {
                padding::times(device, &analysis, &|bar| out::progress(!self.json, bar))?
            }
            None => Vec::new(),
        };
        if let Some(device) = &device {
            device::report_check(device);
        }
        let report = Report {
            model: source::name(path),
            device: device.as_ref().map(crate::backend::Backend::name),
            analysis,
            odd_products: times,
        };
        if let Some(file) = &self.html {
            let page = html::page(&report.model, &report.analysis);
            write_html(file, &page, self.force)?;
            out::note(&format!("note: {} is written", file.display()));
        }
        match self.json {
            true => out::json(&report),
            false => out::print(&tables::text(&report)),
        }
    }

    fn look(&self, files: &ModelFiles, options: &AnalysisOptions<'_>) -> Result<Analysis> {
        let bar = out::progress(!self.json, 1);
        let mut show = |progress: Progress<'_>| {
            bar.set_length(progress.of as u64);
            bar.set_message(progress.next.to_owned());
            bar.set_position(progress.done as u64);
        };
        let analysis = analyze(files, options, &mut show);
        bar.finish_and_clear();
        analysis
    }

    /// The tokens of the text, if one was given.
    fn ids(&self, files: &ModelFiles) -> Result<Option<Vec<u32>>> {
        let Some(path) = &self.text.text else {
            return Ok(None);
        };
        let text = Content::read(path)?.documents().join("\n");
        if text.trim().is_empty() {
            let hint = "give a text of a few pages";
            return Err(Error::file(path.display().to_string(), "is empty", hint));
        }
        let mut ids = files.encode(beginning(&text, self.text.tokens as usize))?;
        ids.truncate(self.text.tokens as usize);
        Ok(Some(ids))
    }

    /// The device, where something has to run: a text, or products of odd sizes.
    fn open_device(&self, files: &ModelFiles, text: bool) -> Result<Option<Device>> {
        let odd = files.config().linears();
        let odd = odd
            .iter()
            .any(|l| padding::is_odd([l.out_features, l.in_features]));
        match text || odd {
            true => device::open(&self.device).map(Some),
            false => Ok(None),
        }
    }

    /// Refuses at once a file that could not be written in the end.
    fn check_html(&self, model: Option<&Path>) -> Result<()> {
        let Some(file) = &self.html else {
            return Ok(());
        };
        let mut inputs = Inputs::of(&self.text.text);
        if let Some(model) = model.filter(|_| !builtin::is_meant(model)) {
            inputs.add(model);
        }
        inputs.keep_off(file)?;
        match std::fs::symlink_metadata(file) {
            Ok(there) if !there.is_file() => Err(Error::usage(
                format!("{} is there and is no ordinary file", file.display()),
                "choose another name",
            )),
            Ok(_) if !self.force => Err(occupied(file)),
            _ => Ok(()),
        }
    }
}

/// Enough of `text` for `tokens` tokens, cut between characters: no tokenizer makes tokens of more bytes on average.
fn beginning(text: &str, tokens: usize) -> &str {
    let mut end = text.len().min(tokens.saturating_mul(64));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn occupied(file: &Path) -> Error {
    Error::usage(
        format!("{} exists", file.display()),
        "choose another name, or pass --force to replace it",
    )
}

/// Writes the page, over an older one if `force`.
fn write_html(file: &Path, page: &str, force: bool) -> Result<()> {
    out::save(file, page.as_bytes(), force).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists if !force => occupied(file),
        _ => Error::io(file, error),
    })
}
