//! `eval tasks`: multiple choice by log-likelihood.

use super::{Candidate, Entry, EntryArgs, load};
use crate::backend::{Backend, Device, block_on};
use crate::cli::args::DeviceArgs;
use crate::cli::{device, out};
use crate::error::{Error, Result};
use crate::evaluate::Words;
use crate::evaluate::tasks::{self, Answers, Encoded, Form, Question, Request, Shots, TaskSummary};
use crate::files::corpus::{objects, texts};
use crate::generate::ModelFiles;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Zero-shot and few-shot tasks: ARC, HellaSwag, PIQA, WinoGrande, BoolQ, OpenBookQA, LAMBADA, or prompts with choices.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu eval tasks -m llama-folder arc_easy.jsonl piqa.parquet
  fairy2i-gpu eval tasks -m llama-folder --stages full,2 --limit 200 --json hellaswag.parquet
  fairy2i-gpu eval tasks -m llama-folder --shots 5 --examples train.parquet test.parquet

What a file holds is told by its columns: those of the tasks' files on the hub, or query, choices and gold (the number of
the right one, from 0). Prompts and scores are those of lm-evaluation-harness 0.4.13; acc_norm counts bytes (its
acc_bytes), and the JSON has acc_norm_chars (its acc_norm) beside it.")]
pub(super) struct Tasks {
    /// Rows of tasks: .jsonl (also .gz, .zst) or .parquet
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    entries: EntryArgs,
    /// Leave out the first N questions of each file
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: usize,
    /// Most questions of each file
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Answered questions before each one
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1000))]
    shots: u64,
    /// What draws them
    #[arg(long, value_name = "N", default_value_t = 1234)]
    seed: u32,
    /// The file to draw them from [default: the questions' own, without the question itself]
    #[arg(long, value_name = "FILE", requires = "shots")]
    examples: Option<PathBuf>,
    /// Print a JSON list: for each model and file task, n, acc, acc_norm, their standard errors, and every question
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// The questions of a file, examples before them.
struct Task {
    name: String,
    path: PathBuf,
    form: Form,
    questions: Vec<Question>,
}

#[derive(Serialize)]
struct Row {
    task: String,
    file: String,
    model: String,
    method: String,
    activations: &'static str,
    shots: u64,
    seed: u32,
    offset: usize,
    #[serde(flatten)]
    summary: TaskSummary,
    seconds: f64,
    questions: Vec<tasks::Answer>,
}

impl Tasks {
    /// The models that it names.
    pub(super) fn models(&mut self) -> Vec<&mut PathBuf> {
        self.entries.model.iter_mut().collect()
    }

    /// Measures and prints.
    pub(super) fn run(self) -> Result<()> {
        let candidates = self.entries.candidates()?;
        let names = texts::names(&self.files).into_iter().zip(&self.files);
        let pool = self.pool()?;
        let tasks = names.map(|(name, path)| self.task(name, path, pool.as_deref()));
        let tasks: Vec<Task> = tasks.collect::<Result<_>>()?;
        let encoded = candidates.iter().map(|c| encode(&c.files, &tasks));
        let encoded: Vec<_> = encoded.collect::<Result<_>>()?;
        let device = device::open(&self.device)?;
        let mut rows = Vec::new();
        for (candidate, encoded) in candidates.iter().zip(&encoded) {
            for entry in &candidate.entries {
                rows.extend(self.measure(candidate, entry, &tasks, encoded, &device)?);
            }
        }
        device::report_check(&device);
        match self.json {
            true => out::json(&rows),
            false => print(&rows, &device.name()),
        }
    }

    /// What examples are drawn from, if that is not the questions' own file.
    fn pool(&self) -> Result<Option<Vec<Question>>> {
        let Some(path) = &self.examples else {
            return Ok(None);
        };
        let rows = objects::read(path, usize::MAX)?;
        let (_, all) = tasks::forms::questions(&path.display().to_string(), &rows)?;
        Ok(Some(all))
    }

    fn task(&self, name: String, path: &Path, pool: Option<&[Question]>) -> Result<Task> {
        let place = path.display().to_string();
        // Examples come from anywhere in the file, and which ones depends on its length.
        let own = self.shots > 0 && pool.is_none();
        let most = match self.limit {
            Some(limit) if !own => self.offset.saturating_add(limit),
            _ => usize::MAX,
        };
        let rows = objects::read(path, most)?;
        let (form, all) = tasks::forms::questions(&place, &rows)?;
        let shots = Shots {
            count: usize::try_from(self.shots).unwrap_or(usize::MAX),
            seed: self.seed,
            one_more: own || form.draws_one_more(),
        };
        let end = self
            .limit
            .map_or(all.len(), |n| self.offset.saturating_add(n).min(all.len()));
        if self.offset >= end {
            let what = format!("has {} questions, none of them asked", all.len());
            return Err(Error::file(
                place,
                what,
                "give a smaller --offset, or a --limit above 0",
            ));
        }
        let questions = tasks::with_examples(&all, pool.unwrap_or(&all), shots, end);
        Ok(Task {
            name,
            path: path.to_owned(),
            form,
            questions: questions.into_iter().skip(self.offset).collect(),
        })
    }

    fn measure(
        &self,
        candidate: &Candidate,
        entry: &Entry,
        tasks: &[Task],
        encoded: &[Vec<Encoded>],
        device: &Device,
    ) -> Result<Vec<Row>> {
        let longest = encoded
            .iter()
            .map(|requests| tasks::longest(requests))
            .max();
        let options = self.entries.options(entry, longest.unwrap_or(1));
        let model = load(&candidate.files, device, options, !self.json)?;
        let mut rows = Vec::new();
        for (task, requests) in tasks.iter().zip(encoded) {
            let bar = out::progress(true, requests.len());
            bar.set_message(task.name.clone());
            let begun = Instant::now();
            let mut progress = |done: usize| bar.set_position(done as u64);
            let likelihoods = block_on(device, tasks::run(&model, requests, &mut progress));
            bar.finish_and_clear();
            let answers = Answers::new(task.form, &task.questions, &likelihoods?);
            let summary = answers.summary();
            let seconds = begun.elapsed().as_secs_f64();
            let n = summary.n;
            out::note(&format!(
                "{}: {}, {n} questions in {seconds:.1} s",
                candidate.name, task.name
            ));
            rows.push(Row {
                task: task.name.clone(),
                file: task.path.display().to_string(),
                model: candidate.name.clone(),
                method: entry.recipe.to_string(),
                activations: entry.activations.word(),
                shots: self.shots,
                seed: self.seed,
                offset: self.offset,
                summary,
                seconds,
                questions: answers.answers,
            });
        }
        Ok(rows)
    }
}

/// The requests of each task in the tokens of a model.
fn encode(files: &ModelFiles, tasks: &[Task]) -> Result<Vec<Vec<Encoded>>> {
    let tokenizer = Words::of(files.opened())?.tokenizer;
    let context = files.config().context;
    let task = |task: &Task| {
        let requests = task.questions.iter().flat_map(|q| &q.requests);
        requests
            .map(|r: &Request| r.encode(tokenizer, context))
            .collect()
    };
    tasks.iter().map(task).collect()
}

fn print(rows: &[Row], device: &str) -> Result<()> {
    let share = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{:.2}", 100.0 * v));
    let cells = |r: &Row| {
        vec![
            r.model.clone(),
            r.method.clone(),
            r.activations.to_owned(),
            r.task.clone(),
            r.summary.n.to_string(),
            share(Some(r.summary.acc)),
            share(r.summary.acc_stderr),
            share(r.summary.acc_norm),
            share(r.summary.acc_norm_stderr),
            r.summary
                .perplexity
                .map_or("-".to_owned(), |p| format!("{p:.3}")),
        ]
    };
    let header = [
        "model",
        "layers",
        "activations",
        "task",
        "n",
        "acc %",
        "+-",
        "acc_norm %",
        "+-",
        "perplexity",
    ];
    let table = out::table(&header, &rows.iter().map(cells).collect::<Vec<_>>());
    out::print(&format!("{table}\n{device}\n"))
}
