//! Perplexities and log-likelihoods of choices in `models.json` and `smollm2.json`.
//!
//! Texts and tasks are no part of the repository, but for one text: `FAIRY2I_DATA` names a folder with `text` and `tasks`.
//! All of it takes a processor most of an hour: `FAIRY2I_EVALUATE=all` asks for that, otherwise one text and one task of
//! the smaller models are measured.

use super::Report;
use super::common::Device;
use fairy2i_gpu::backend::{Backend, block_on};
use fairy2i_gpu::evaluate::{self, Cutting, Protocol, Words, protocol, tasks};
use fairy2i_gpu::files::corpus::objects;
use fairy2i_gpu::model::{Method, Recipe};
use fairy2i_gpu::ops::quantize::Activations;
use fairy2i_gpu::{Model, Options};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The text and the task that are always measured, where they are there.
const TEXT: &str = "tinystories_val.txt";
const TASK: &str = "arc_easy_test";

/// Whether everything is asked for.
pub fn all() -> bool {
    std::env::var_os("FAIRY2I_EVALUATE").is_some_and(|v| v == "all")
}

/// A text or task.
fn find(name: &str) -> Option<PathBuf> {
    super::find("FAIRY2I_DATA", "data", "", name)
}

/// A model, how it is loaded, and what is known of it.
pub struct Judged<'a> {
    pub id: String,
    pub folder: &'a Path,
    pub recipe: Recipe,
    pub activations: Activations,
    /// Perplexities by file in `ppl_blocks512`; `ppl_paper_wikitext2`; choices by task.
    pub fixture: &'a Value,
    pub choices: &'a Value,
}

/// `[a, b]` or `"a..b"`.
fn range(value: &Value) -> (usize, usize) {
    if let Some(text) = value.as_str() {
        let (a, b) = text.split_once("..").expect("a range");
        return (a.parse().expect("a number"), b.parse().expect("a number"));
    }
    let ends: Vec<usize> = serde_json::from_value(value.clone()).expect("two numbers");
    (ends[0], ends[1])
}

/// A file with these characters of the text `name`, if that is here.
fn excerpt(folder: &Path, name: &str, (from, to): (usize, usize)) -> Option<PathBuf> {
    let text = std::fs::read_to_string(find(&format!("text/{name}"))?).expect("a text");
    let path = folder.join(name);
    let characters: String = text.chars().skip(from).take(to - from).collect();
    std::fs::write(&path, characters).expect("written");
    Some(path)
}

impl Judged<'_> {
    fn load(&self, device: &Device, context: usize) -> fairy2i_gpu::Result<Model> {
        let options = Options {
            recipe: Some(self.recipe),
            activations: self.activations,
            context: Some(context),
            batch: 2048,
            ..Options::default()
        };
        Model::open(self.folder)?.load(device, options)
    }

    /// How far the log-likelihood `want` of a choice may be off: 0.01 on the processor. Twice that from the second stage
    /// on, whose codes turn on the last bit of the first stage's scale where a weight lies on an edge: our scales are
    /// exact, the papers' are sums in f32, and a few codes in a checkpoint differ. GPUs keep keys, values and the factors
    /// of large products in half precision, 2^-11 of each value: a thousandth of a sum of many tokens.
    fn allowed(&self, device: &Device, want: f64) -> f64 {
        let stages = match self.recipe.method {
            Method::Phase { stages } => stages,
            _ => 0,
        };
        let edges = if stages > 1 { 2e-2 } else { 1e-2 };
        match device.is_cpu() {
            true => edges,
            false => edges + 1e-3 * want.abs(),
        }
    }

    /// Everything that is known of the model, on one device.
    pub fn judge(&self, device: &Device, report: &mut Report) {
        let id = format!("{}, {:?}, {}", self.id, self.activations, device.name());
        // A software adapter takes many minutes for a text.
        let texts = match device.is_cpu() || all() {
            true => self.perplexities(device, &id, report),
            false => Ok(()),
        };
        for result in [texts, self.choices(device, &id, report)] {
            report.check(result.is_ok(), || format!("{id}: {}", result.unwrap_err()));
        }
    }

    /// Perplexities within 0.1 %, of as many tokens.
    fn perplexities(
        &self,
        device: &Device,
        id: &str,
        report: &mut Report,
    ) -> fairy2i_gpu::Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Model::open(self.folder)?;
        let context = files.config().context;
        let mut cases = Vec::new();
        for (name, want) in self.fixture["ppl_blocks512"].as_object().expect("texts") {
            let characters = range(&want["characters"]);
            cases.push((Protocol::Blocks, 512, name.as_str(), characters, want));
        }
        let paper = &self.fixture["ppl_paper_wikitext2"];
        if !paper.is_null() {
            let wiki = "wiki.test.raw";
            let characters = range(&self.fixture["ppl_blocks512"][wiki]["characters"]);
            cases.push((Protocol::Paper, context, wiki, characters, paper));
        }
        let longest = cases.iter().map(|c| c.1).max().unwrap_or(2);
        let model = self.load(device, longest)?;
        for (protocol, length, name, characters, want) in cases {
            if !all() && name != TEXT {
                continue;
            }
            let Some(path) = excerpt(folder.path(), name, characters) else {
                println!("{id}: {name}: SKIPPED, there is no such text here (FAIRY2I_DATA)");
                continue;
            };
            let cutting = Cutting {
                protocol,
                length,
                stride: length,
            };
            let words = Words::of(files.opened())?;
            let texts = protocol::open(&[path], cutting, &words)?;
            let mut quiet = |_| {};
            let run = evaluate::perplexity(model.inner(), None, &texts[0], &mut quiet);
            let got = block_on(device, run)?.summary();
            let tokens = want["tokens"].as_u64().or(want["count"].as_u64());
            report.check(tokens == Some(got.tokens as u64), || {
                format!("{id}: {name}, {protocol:?}: {} tokens", got.tokens)
            });
            let want = want["ppl"].as_f64().expect("a perplexity");
            let off = (got.ppl / want - 1.0).abs();
            println!("{id}: {name}, {protocol:?}: {} for {want}", got.ppl);
            report.bound(&format!("{id}: {name}, {protocol:?}"), off, 1e-3);
        }
        Ok(())
    }

    /// Log-likelihoods of choices, and the same accuracies.
    fn choices(&self, device: &Device, id: &str, report: &mut Report) -> fairy2i_gpu::Result<()> {
        let files = Model::open(self.folder)?;
        let context = files.config().context;
        let model = self.load(device, context.min(1024))?;
        for (task, want) in self.choices.as_object().expect("tasks") {
            if !all() && task != TASK {
                continue;
            }
            let Some(path) = find(&format!("tasks/{task}.jsonl")) else {
                println!("{id}: {task}: SKIPPED, there is no such task here (FAIRY2I_DATA)");
                continue;
            };
            let (first, likelihoods) = likelihoods(want);
            let rows = objects::read(&path, first + likelihoods.len())?;
            let (form, questions) = tasks::forms::questions(task, &rows[first..])?;
            let tokenizer = Words::of(files.opened())?.tokenizer;
            let requests = questions.iter().flat_map(|q| &q.requests);
            let encoded: Vec<_> = requests
                .map(|r| r.encode(tokenizer, context))
                .collect::<fairy2i_gpu::Result<_>>()?;
            let got = block_on(device, tasks::run(model.inner(), &encoded, &mut |_| {}))?;
            let answers = tasks::Answers::new(form, &questions, &got);
            let id = format!("{id}: {task}");
            for (i, (answer, want)) in answers.answers.iter().zip(&likelihoods).enumerate() {
                answered(
                    answer,
                    want,
                    |want| self.allowed(device, want),
                    &format!("{id}, question {i}"),
                    report,
                );
            }
            println!("{id}: {} of {}", answers.summary().acc, questions.len());
            if device.is_cpu() {
                accuracies(&answers.summary(), want, &id, report);
            }
        }
        Ok(())
    }
}

/// Log-likelihoods as far off as `allowed`; a choice may differ where two are closer than that.
fn answered(
    answer: &tasks::Answer,
    want: &[f64],
    allowed: impl Fn(f64) -> f64,
    id: &str,
    report: &mut Report,
) {
    report.check(answer.log_likelihoods.len() == want.len(), || {
        format!("{id}: another number of choices")
    });
    for (got, &want) in answer.log_likelihoods.iter().zip(want) {
        report.bound(id, (got - want).abs() / allowed(want), 1.0);
    }
    let best = want.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let chosen = want[answer.choice];
    report.check(best - chosen <= 2.0 * allowed(best), || {
        format!("{id}: choice {} of {want:?}", answer.choice)
    });
}

/// The accuracies that the fixture has.
fn accuracies(summary: &tasks::TaskSummary, want: &Value, id: &str, report: &mut Report) {
    for (name, got) in [
        ("accuracy", Some(summary.acc)),
        ("acc", Some(summary.acc)),
        ("acc_norm_bytes", summary.acc_norm),
    ] {
        let want = want[name].as_f64();
        let same = want.is_none_or(|want| got.is_some_and(|got| (got - want).abs() < 1e-9));
        report.check(same, || format!("{id}: {name} {got:?}, not {want:?}"));
    }
}

/// The first row and the log-likelihoods of the choices of that and the following ones.
fn likelihoods(want: &Value) -> (usize, Vec<Vec<f64>>) {
    let numbers = |v: &Value| serde_json::from_value(v.clone()).expect("numbers");
    match want.get("loglikelihoods") {
        Some(all) => (
            want["first"].as_u64().expect("a row") as usize,
            all.as_array().expect("rows").iter().map(numbers).collect(),
        ),
        None => (
            range(&want["rows"]).0,
            want["log_likelihoods"]
                .as_array()
                .expect("rows")
                .iter()
                .map(|row| numbers(&row["ll"]))
                .collect(),
        ),
    }
}

/// On which devices a model is measured: all if asked for, else the processor, and one GPU for the model `one`.
pub fn devices(devices: &[Device], one: bool) -> impl Iterator<Item = &Device> {
    let gpus = devices.iter().filter(|d| !d.is_cpu());
    let most = if all() || one { 1 } else { 0 };
    devices.iter().filter(|d| d.is_cpu()).chain(gpus.take(most))
}
