//! The program: one file per verb. Only this room prints, reads arguments or looks at the clock.

use crate::error::Result;
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

mod args;
mod bench;
mod completions;
mod curves;
mod data;
mod device;
mod export;
mod generate;
mod info;
mod out;
mod quantize;
mod remedy;
mod source;
mod train;

/// What the program says about itself at the end of `--help`.
const EXAMPLES: &str = "\
Examples:
  fairy2i-gpu generate \"Once upon a time\"         the built-in model, on your GPU or else your CPU
  fairy2i-gpu info                                which devices there are, and what each can do
  fairy2i-gpu quantize llama-folder packed-folder two bits a weight, from any Hugging Face LLaMA
  fairy2i-gpu data --tokenizer llama-folder --out DATA corpus.jsonl.zst
                                                  text to tokens in blocks, for training
  fairy2i-gpu generate -m packed-folder --check \"Once\"
                                                  every result of the GPU compared with the CPU's

Results go to standard output, everything else to standard error.
Exit codes: 0 fine, 2 bad input or usage, 3 no such device or its failure, 1 anything else.";

/// LLaMA in two bits, {1, i, -1, -i}, on any GPU.
#[derive(Debug, Parser)]
#[command(name = "fairy2i-gpu", version, after_help = EXAMPLES)]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Generate(Box<generate::Generate>),
    Info(info::Info),
    Quantize(quantize::Quantize),
    Export(export::Export),
    Train(Box<train::Train>),
    Bench(Box<bench::Bench>),
    Data(Box<data::Data>),
    Curves(curves::Curves),
    Completions(completions::Completions),
}

impl Verb {
    fn run(self, started: Instant) -> Result<()> {
        match self {
            Self::Generate(verb) => verb.run(started),
            Self::Info(verb) => verb.run(),
            Self::Quantize(verb) => verb.run(),
            Self::Export(verb) => verb.run(),
            Self::Train(verb) => verb.run(),
            Self::Bench(verb) => verb.run(),
            Self::Data(verb) => verb.run(),
            Self::Curves(verb) => verb.run(),
            Self::Completions(verb) => verb.run(Cli::command()),
        }
    }
}

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    let started = Instant::now();
    device::silence_layers();
    let Err(error) = Cli::parse_from(arguments()).verb.run(started) else {
        return ExitCode::SUCCESS;
    };
    if out::reader_left(&error) {
        return ExitCode::SUCCESS; // `| head` has seen enough: nobody is left to tell
    }
    out::note(&format!("error: {}", remedy::line(&error)));
    ExitCode::from(error.exit_code())
}

/// The process's arguments, with llama-bench's `-pg`, which clap would read as `-p g`, in clap's spelling.
fn arguments() -> Vec<OsString> {
    let mut all: Vec<_> = std::env::args_os().collect();
    if all.get(1).is_some_and(|verb| verb == "bench") {
        for pg in all.iter_mut().filter(|a| *a == "-pg") {
            *pg = "--pg".into();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #[test]
    fn arguments_are_consistent() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
