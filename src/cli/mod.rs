//! The program: one file per command. Only this room prints, reads arguments or looks at the clock.

use crate::error::Result;
use crate::files::hub::Part;
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

mod analyze;
mod args;
mod bench;
mod chat;
mod completions;
mod curves;
mod data;
mod device;
mod eval;
mod export;
mod folders;
mod generate;
mod hub;
mod info;
mod out;
mod quantize;
mod ranks;
mod remedy;
#[cfg(feature = "serve")]
mod serve;
mod source;
mod timing;
mod train;

/// What the program says about itself at the end of `--help`.
const EXAMPLES: &str = "\
Examples:
  fairy2i-gpu generate \"Once upon a time\"         the built-in model, on your GPU or else your CPU
  fairy2i-gpu chat -m llama-folder                talk to a model
  fairy2i-gpu chat -m hf:OWNER/NAME               one of the Hugging Face hub, fetched into its cache
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
    /// Take models of the hub (hf:OWNER/NAME) from its cache alone, as HF_HUB_OFFLINE=1 does
    #[arg(long, global = true)]
    offline: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Generate(Box<generate::Generate>),
    Chat(Box<chat::Chat>),
    Info(info::Info),
    Quantize(quantize::Quantize),
    Export(export::Export),
    Train(Box<train::Train>),
    Bench(Box<bench::Bench>),
    Eval(eval::Eval),
    Data(Box<data::Data>),
    Analyze(Box<analyze::Analyze>),
    Curves(curves::Curves),
    #[cfg(feature = "serve")]
    Serve(Box<serve::Serve>),
    Completions(completions::Completions),
}

impl Verb {
    /// The models that it names, and what it needs of them. The settings of `train` may also come from a file.
    fn models(&mut self) -> Vec<(&mut PathBuf, Part)> {
        let whole = |path| (path, Part::Model);
        match self {
            Self::Generate(verb) => verb.model.model.iter_mut().map(whole).collect(),
            Self::Chat(verb) => verb.model.model.iter_mut().map(whole).collect(),
            Self::Info(verb) => verb.model.iter_mut().map(whole).collect(),
            Self::Quantize(verb) => vec![whole(&mut verb.input)],
            Self::Export(verb) => vec![whole(&mut verb.input)],
            Self::Bench(verb) => verb.model.model.iter_mut().map(whole).collect(),
            Self::Eval(verb) => verb.models().into_iter().map(whole).collect(),
            Self::Data(verb) => vec![(&mut verb.tokenizer, Part::Tokenizer)],
            Self::Analyze(verb) => verb.models().map(whole).collect(),
            #[cfg(feature = "serve")]
            Self::Serve(verb) => verb.model().into_iter().map(whole).collect(),
            Self::Train(_) | Self::Curves(_) | Self::Completions(_) => Vec::new(),
        }
    }

    fn run(mut self, started: Instant, offline: bool) -> Result<()> {
        hub::locate(self.models(), offline)?;
        match self {
            Self::Generate(verb) => verb.run(started),
            Self::Chat(verb) => verb.run(),
            Self::Info(verb) => verb.run(),
            Self::Quantize(verb) => verb.run(),
            Self::Export(verb) => verb.run(),
            Self::Train(verb) => verb.run(offline),
            Self::Bench(verb) => verb.run(),
            Self::Eval(verb) => verb.run(),
            Self::Data(verb) => verb.run(),
            Self::Analyze(verb) => verb.run(),
            Self::Curves(verb) => verb.run(),
            #[cfg(feature = "serve")]
            Self::Serve(verb) => verb.run(),
            Self::Completions(verb) => verb.run(Cli::command()),
        }
    }
}

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    let started = Instant::now();
    device::silence_layers();
    let cli = Cli::parse_from(spelled(std::env::args_os()));
    let Err(error) = cli.verb.run(started, cli.offline) else {
        return ExitCode::SUCCESS;
    };
    if out::reader_left(&error) {
        return ExitCode::SUCCESS; // `| head` has seen enough: nobody is left to tell
    }
    out::note(&format!("error: {}", remedy::line(&error)));
    ExitCode::from(error.exit_code())
}

/// Whether the program understands these arguments (its own name is not among them); asking for help counts.
///
/// # Errors
/// What the program would say about them.
pub fn parses(arguments: impl IntoIterator<Item = OsString>) -> std::result::Result<(), String> {
    let named = std::iter::once("fairy2i-gpu".into()).chain(arguments);
    match Cli::try_parse_from(spelled(named)) {
        Err(error) if error.use_stderr() => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Short options of several letters, as llama.cpp has them, and what they are called in full. Clap would read `-pg` as
/// `-p g`.
const SHORT: [(&str, &str); 3] = [
    ("-np", "--parallel"),
    ("-pg", "--pg"),
    ("-ub", "--ubatch-size"),
];

/// The arguments, with the options of [`SHORT`] in full where the command has them.
fn spelled(all: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<_> = all.collect();
    let cli = Cli::command();
    let command = all.get(1).and_then(|verb| cli.find_subcommand(verb));
    let Some(command) = command else {
        return all;
    };
    let known = |long: &str| {
        let mut options = command.get_arguments().filter_map(|a| a.get_long());
        options.any(|name| long.strip_prefix("--") == Some(name))
    };
    let known: Vec<_> = SHORT.iter().filter(|(_, long)| known(long)).collect();
    for argument in all.iter_mut().skip(2).take_while(|a| *a != "--") {
        // alone, or with its value behind an equals sign
        let Some(text) = argument.to_str() else {
            continue;
        };
        let (option, value) = text.split_at(text.find('=').unwrap_or(text.len()));
        if let Some((_, long)) = known.iter().find(|(short, _)| *short == option) {
            *argument = format!("{long}{value}").into();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Vec<String> {
        let all = spelled(line.split(' ').map(OsString::from));
        let text = |a: OsString| a.into_string().expect("was text");
        all.into_iter().map(text).collect()
    }

    #[test]
    fn short_options_of_several_letters_are_understood_where_they_are() {
        let line = "fairy2i-gpu bench -p 8 -pg 8,4 -ub=16 -np 1,2 -b 32";
        let full = "fairy2i-gpu bench -p 8 --pg 8,4 --ubatch-size=16 --parallel 1,2 -b 32";
        assert_eq!(parsed(line).join(" "), full);
        assert!(Cli::try_parse_from(parsed(line)).is_ok());
        let line = "fairy2i-gpu generate -ub 16 -b 8 -p Hello -n 2";
        assert_eq!(parsed(line)[2], "--ubatch-size");
        assert!(Cli::try_parse_from(parsed(line)).is_ok());
        // what a command does not have, and what is text, stays as it is
        for line in [
            "fairy2i-gpu info -np",
            "fairy2i-gpu generate -- -ub",
            "fairy2i-gpu nonsense -ub",
            "fairy2i-gpu",
        ] {
            assert_eq!(parsed(line).join(" "), line);
        }
    }

    #[test]
    fn arguments_are_consistent() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
