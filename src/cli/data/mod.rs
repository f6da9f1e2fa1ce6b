//! `data`: text files to shards of tokens for training.

use super::{out, ranks};
use crate::error::{Error, Result};
use crate::files::corpus::manifest::{Counts, FORMAT, Manifest, Settings, SourceFile};
use crate::files::corpus::shards::OPEN_SHARDS;
use crate::files::corpus::{Packing, TextTokenizer, TextUnit};
use crate::files::{self, Inputs};
use crate::ranks::Ranks;
use clap::ValueEnum;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

mod among;
mod pipeline;
mod run;

/// Make training data from text files: tokens in blocks, in mapped shards.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu data --tokenizer LLAMA --block 512 --out DATA corpus.jsonl.zst
  fairy2i-gpu data --tokenizer LLAMA --block 2048 --sample-tokens 1000000000 --seed 42 --out DATA *.parquet

FILEs are .txt, .jsonl (both also as .gz or .zst) and .parquet; what they hold does not depend on --workers. A run that
was stopped goes on where it was when it is started again with the same options; until it is done, its files are in
OUT.part. Lines that cannot be used are told and counted. The papers' packing joins batches of documents and throws
away what fills no block; stream throws away nothing but the end.

Every document has exactly the tokens that the tokenizer gives for the whole of it. Byte-level tokenizers and those of
the LLaMA 2 family go from word to word; others take a document as a whole, with some 200 bytes of memory for each byte
of the longest one.")]
pub(super) struct Data {
    /// Text files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Folder with tokenizer.json, hf:OWNER/NAME, or builtin
    #[arg(long, value_name = "FOLDER")]
    pub(super) tokenizer: PathBuf,
    /// Folder to write
    #[arg(long, value_name = "DATA")]
    out: PathBuf,
    /// Tokens of a block
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(2..=1 << 24))]
    block: u32,
    /// What happens with tokens that fill no block
    #[arg(long, value_enum, default_value = "papers")]
    packing: PackingName,
    /// Documents of a batch in the papers' packing
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    batch_documents: u64,
    /// Field of JSON lines, column of Parquet files
    #[arg(long, default_value = "text")]
    field: String,
    /// What a document is in a .txt file
    #[arg(long, value_enum, default_value = "file")]
    text_unit: UnitName,
    /// Draw blocks of N tokens altogether, uniformly from all there are
    #[arg(long, value_name = "N")]
    sample_tokens: Option<u64>,
    /// What drawing follows from
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Stop when more lines than this cannot be used [default: never]
    #[arg(long, value_name = "N")]
    max_bad: Option<u64>,
    /// Lines longer than this cannot be used
    #[arg(long, value_name = "MB", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_line: u16,
    /// Tokens of a shard, in millions
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    shard: u32,
    /// MB of text between notes of where to go on
    #[arg(long, value_name = "MB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    save_every: u32,
    /// Threads that tokenize [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PackingName {
    /// Batches of documents are joined and cut, the rest of each is thrown away
    Papers,
    /// All documents are joined and cut
    Stream,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum UnitName {
    /// The whole file
    File,
    /// Every line that is not empty
    Line,
}

#[derive(Serialize)]
struct Report<'a> {
    out: String,
    /// Blocks in the folder.
    blocks: u64,
    /// Tokens of a block.
    block: usize,
    shards: usize,
    tokenizer_sha256: &'a str,
    counts: &'a Counts,
    workers: usize,
    /// Whether a run that was stopped went on.
    resumed: bool,
    seconds: f64,
    /// Megabytes of text a second, of this run.
    megabytes_per_second: f64,
}

impl Data {
    /// Makes the folder and prints what came of it. Ranks tokenize in turn, and the first one writes.
    pub(super) fn run(self) -> Result<()> {
        let ranks = ranks::open()?;
        ranks::end(&*ranks, self.run_among(&*ranks))
    }

    fn run_among(&self, ranks: &dyn Ranks) -> Result<()> {
        let started = Instant::now();
        let tokenizer = if crate::builtin::is_meant(Some(&self.tokenizer)) {
            crate::builtin::source()
        } else {
            files::source(&self.tokenizer)?
        };
        let tokenizer = TextTokenizer::open(&tokenizer)?;
        let settings = self.settings(&tokenizer)?;
        let cores = || cores().div_ceil(ranks.local_size());
        let workers = self.workers.map_or_else(cores, usize::from);
        let limits = run::Limits {
            max_bad: self.max_bad,
            save_every: u64::from(self.save_every) << 20,
            workers,
        };
        let inputs = Inputs::of(self.files.iter().chain([&self.tokenizer]));
        if ranks.rank() > 0 {
            return run::help(&settings, &tokenizer, &limits, ranks);
        }
        let limits = (&limits, ranks);
        let done = run::run(&self.out, &settings, &tokenizer, limits, &inputs)?;
        let seconds = started.elapsed().as_secs_f64();
        self.report(&done.manifest, &done, workers, seconds)
    }

    fn settings(&self, tokenizer: &TextTokenizer) -> Result<Settings> {
        let block = self.block as usize;
        if self
            .sample_tokens
            .is_some_and(|n| n < u64::from(self.block))
        {
            return Err(Error::usage(
                format!("--sample-tokens is less than a block of {block}"),
                "ask for more, or for shorter blocks",
            ));
        }
        let packing = match self.packing {
            PackingName::Papers => Packing::Papers {
                batch: self.batch_documents,
            },
            PackingName::Stream => Packing::Stream,
        };
        let sample = self.sample_tokens.map_or(0, |n| n / u64::from(self.block));
        let shard = (u64::from(self.shard) * 1_000_000).div_ceil(u64::from(self.block));
        let text_unit = match self.text_unit {
            UnitName::File => TextUnit::File,
            UnitName::Line => TextUnit::Line,
        };
        Ok(Settings {
            format: FORMAT.to_owned(),
            tokenizer: tokenizer.id.clone(),
            block,
            packing,
            id_bytes: if tokenizer.id.vocab <= 1 << 16 { 2 } else { 4 },
            // A sample is written all over its shards, so they have to stay open.
            shard_blocks: shard.max(sample.div_ceil(OPEN_SHARDS as u64)),
            field: self.field.clone(),
            text_unit,
            longest_line: usize::from(self.max_line) << 20,
            sample_tokens: self.sample_tokens,
            seed: self.seed,
            sources: self
                .files
                .iter()
                .map(|path| sized(path))
                .collect::<Result<_>>()?,
        })
    }

    fn report(
        &self,
        manifest: &Manifest,
        done: &run::Done,
        workers: usize,
        seconds: f64,
    ) -> Result<()> {
        let counts = &manifest.counts;
        let speed = done.text_bytes as f64 / 1e6 / seconds;
        if self.json {
            return out::json(&Report {
                out: self.out.display().to_string(),
                blocks: manifest.blocks,
                block: manifest.settings.block,
                shards: manifest.shards.len(),
                tokenizer_sha256: &manifest.settings.tokenizer.sha256,
                counts,
                workers,
                resumed: done.resumed,
                seconds,
                megabytes_per_second: speed,
            });
        }
        let blocks = manifest.blocks * manifest.settings.block as u64;
        out::print(&format!(
            "{} documents, {} of text, {} tokens ({} dropped), {} bad\n\
             {}: {} blocks of {}, {} tokens in {} shard(s)\n{seconds:.1} s, {speed:.1} MB/s\n",
            counts.documents,
            out::bytes(counts.text_bytes as f64),
            counts.tokens,
            counts.dropped,
            counts.bad,
            self.out.display(),
            manifest.blocks,
            manifest.settings.block,
            blocks,
            manifest.shards.len(),
        ))
    }
}

/// A source with its size; it must be a regular file, since it may be read again.
fn sized(path: &Path) -> Result<SourceFile> {
    let data = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    let shown = path.display().to_string();
    if !data.is_file() {
        return Err(Error::usage(
            format!("{shown} is not a regular file"),
            "pass text files",
        ));
    }
    Ok(SourceFile {
        path: shown,
        bytes: data.len(),
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
