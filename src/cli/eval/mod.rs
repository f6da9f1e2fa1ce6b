//! `eval`: how good models are.

use super::args::{ActivationName, MethodName, PathArgs, RecipeArgs, StageList};
use super::{out, source};
use crate::backend::{Device, block_on};
use crate::error::{Error, Result};
use crate::generate::{ModelFiles, Options};
use crate::model::{Granularity, Method, Model, Recipe};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::str::FromStr;

mod ppl;
mod report;
mod tasks;

/// Measure models: perplexity of texts, multiple-choice tasks.
#[derive(Debug, Args)]
pub(super) struct Eval {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Ppl(Box<ppl::Ppl>),
    Tasks(Box<tasks::Tasks>),
}

impl Eval {
    /// The models that it names.
    pub(super) fn models(&mut self) -> Vec<&mut PathBuf> {
        match &mut self.what {
            What::Ppl(ppl) => ppl.models(),
            What::Tasks(tasks) => tasks.models(),
        }
    }

    /// Measures and prints.
    pub(super) fn run(self) -> Result<()> {
        match self.what {
            What::Ppl(ppl) => ppl.run(),
            What::Tasks(tasks) => tasks.run(),
        }
    }
}

/// Which models, and as what their linear layers are taken: all combinations of what is named.
#[derive(Debug, Args)]
#[command(next_help_heading = "Models")]
struct EntryArgs {
    /// Model folder, full precision or packed, GGUF file, or hf:OWNER/NAME; may be given several times [default: the built-in
    /// model]
    #[arg(short, long, value_name = "FOLDER")]
    model: Vec<PathBuf>,
    /// Residual stages to try on a full-precision folder: 1..4, or `full` for none; of a packed one, how many of its first stages
    #[arg(long, value_name = "1..4", value_delimiter = ',', value_parser = Stages::from_str)]
    stages: Vec<Stages>,
    /// Which weights share scales: tensor, row, group:N, tile:N, tile:RxN
    #[arg(long, value_delimiter = ',', value_parser = Granularity::from_str)]
    granularity: Vec<Granularity>,
    /// How activations enter linear layers; several are compared without cooperative matrices, which round them their own
    /// way [default: float in full precision, else 16]
    #[arg(long, value_enum, value_delimiter = ',')]
    activations: Vec<ActivationName>,
    /// Representation of the linear layers
    #[arg(long)]
    method: Option<MethodName>,
    /// Leave the output head as it is stored
    #[arg(long)]
    skip_lm_head: bool,
    /// Go on when weights are NaN or infinite: they count as 0
    #[arg(long)]
    allow_nonfinite: bool,
    /// Most tokens processed at once
    #[arg(short = 'u', long, alias = "batch-size", short_alias = 'b', value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..))]
    ubatch_size: u64,
    #[command(flatten)]
    paths: PathArgs,
}

/// `full`, or a number of stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stages(Option<u8>);

impl FromStr for Stages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "full" => Ok(Self(None)),
            "1" | "2" | "3" | "4" => Ok(Self(text.parse().ok())),
            _ => Err("1, 2, 3, 4 or full".to_owned()),
        }
    }
}

/// A model, and everything that it is tried as.
struct Candidate {
    name: String,
    files: ModelFiles,
    entries: Vec<Entry>,
}

/// One way to take a model.
struct Entry {
    recipe: Recipe,
    activations: ActivationName,
}

impl Entry {
    /// Stages of residual quantization; `None` for anything else.
    fn stages(&self) -> Option<usize> {
        match self.recipe.method {
            Method::Phase { stages } => Some(stages),
            _ => None,
        }
    }
}

impl EntryArgs {
    /// Every model with every recipe, in the order in which they are named.
    fn candidates(&self) -> Result<Vec<Candidate>> {
        let candidate = |model: Option<&Path>| -> Result<Candidate> {
            let opened = source::open(model)?;
            let mut recipes: Vec<Recipe> = Vec::new();
            for args in self.recipes() {
                let recipe = source::recipe(&opened, &args)?;
                if !recipes.contains(&recipe) {
                    recipes.push(recipe); // full precision has one granularity
                }
            }
            let entries = recipes.into_iter().flat_map(|recipe| {
                let kinds = self.kinds(recipe).into_iter();
                kinds.map(move |activations| Entry {
                    recipe,
                    activations,
                })
            });
            Ok(Candidate {
                name: source::name(model),
                entries: entries.collect(),
                files: opened.into(),
            })
        };
        self.models().into_iter().map(candidate).collect()
    }

    /// The activations that are asked for; what is called full precision is not rounded by itself.
    fn kinds(&self, recipe: Recipe) -> Vec<ActivationName> {
        match (self.activations.is_empty(), recipe.method) {
            (false, _) => self.activations.clone(),
            (true, Method::Full) => vec![ActivationName::Float],
            (true, _) => vec![ActivationName::Int16],
        }
    }

    fn models(&self) -> Vec<Option<&Path>> {
        match self.model.is_empty() {
            true => vec![None],
            false => self.model.iter().map(|m| Some(m.as_path())).collect(),
        }
    }

    /// All combinations of stages and granularities.
    fn recipes(&self) -> Vec<RecipeArgs> {
        fn or_none<T: Copy>(all: &[T]) -> Vec<Option<T>> {
            match all {
                [] => vec![None],
                all => all.iter().map(|&t| Some(t)).collect(),
            }
        }
        let mut recipes = Vec::new();
        for stages in or_none(&self.stages) {
            for granularity in or_none(&self.granularity) {
                let full = stages == Some(Stages(None));
                recipes.push(RecipeArgs {
                    stages: stages.and_then(|s| s.0).map(StageList::from),
                    granularity: granularity.filter(|_| !full),
                    method: if full {
                        Some(MethodName::Full)
                    } else {
                        self.method
                    },
                    skip_lm_head: self.skip_lm_head && !full,
                    rotate: false,
                    allow_nonfinite: self.allow_nonfinite,
                });
            }
        }
        recipes
    }

    /// How an entry is loaded for sequences of at most `context` tokens.
    fn options(&self, entry: &Entry, context: usize) -> Options {
        Options {
            recipe: Some(entry.recipe),
            stages: None,
            draft: None,
            activations: entry.activations.into(),
            context: Some(context),
            batch: usize::try_from(self.ubatch_size).unwrap_or(usize::MAX),
            kv: self.paths.kv.into(),
            swa_full: self.paths.swa_full,
            exact: self.paths.exact || self.activations.len() > 1,
            allow_nonfinite: self.allow_nonfinite,
        }
    }
}

/// Brings a model to the device, with a bar if `show`.
fn load(
    files: &ModelFiles,
    device: &Device,
    options: Options,
    show: bool,
) -> Result<Model<Device>> {
    let bar = out::progress(show, files.config().linears().len());
    let mut progress = |name: &str| {
        bar.set_message(name.to_owned());
        bar.inc(1);
    };
    let model = block_on(device, files.weights_on(device, options, &mut progress));
    bar.finish_and_clear();
    model
}

/// Refuses windows that the model was not made for.
fn within(files: &ModelFiles, length: usize, option: &str) -> Result<()> {
    let context = files.config().context;
    if length <= context {
        return Ok(());
    }
    Err(Error::usage(
        format!(
            "{option} {length} is longer than the context of {context} tokens of {}",
            files.opened().source.name()
        ),
        format!("give at most {context}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        entries: EntryArgs,
    }

    fn described(line: &str) -> Result<Vec<String>> {
        let words = ["eval"].into_iter().chain(line.split_whitespace());
        let candidates = Line::parse_from(words).entries.candidates()?;
        let entries = candidates.iter().flat_map(|c| &c.entries);
        let text = |e: &Entry| format!("{} {}", e.recipe, e.activations.word());
        Ok(entries.map(text).collect())
    }

    #[test]
    fn sweeps_are_all_combinations_without_repetitions() {
        let builtin = described("").expect("entries");
        assert_eq!(builtin, ["fairy2i, stages 2, scales per tensor 16"]);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models/stories260k");
        let all = described(&format!(
            "-m {folder} --stages full,1,2 --granularity tensor,row --activations 16,8"
        ));
        assert_eq!(
            all.expect("entries"),
            [
                "full precision 16",
                "full precision 8",
                "fairy2i, stages 1, scales per tensor 16",
                "fairy2i, stages 1, scales per tensor 8",
                "fairy2i, stages 1, scales per row 16",
                "fairy2i, stages 1, scales per row 8",
                "fairy2i, stages 2, scales per tensor 16",
                "fairy2i, stages 2, scales per tensor 8",
                "fairy2i, stages 2, scales per row 16",
                "fairy2i, stages 2, scales per row 8",
            ]
        );
        let plain = described(&format!("-m {folder}")).expect("entries");
        assert_eq!(plain, ["full precision float"]);
        assert!("5".parse::<Stages>().is_err() && "".parse::<Stages>().is_err());
    }
}
