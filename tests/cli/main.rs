//! The program as people meet it: the built binary, its output, its exit codes. Everything runs on the CPU backend
//! with the built-in model, so that a bare clone is enough.

mod analyze;
mod bad;
mod before;
mod bench;
mod calibrate;
mod chat;
mod data;
mod data_stops;
mod devices;
mod eval;
mod folders;
mod generate;
mod gguf;
#[cfg(all(unix, feature = "hub"))]
mod hub;
#[cfg(all(unix, feature = "hub"))]
#[allow(dead_code)] // the hub of the file tests
#[path = "../files/hub_server.rs"]
mod hub_server;
mod ifairy;
mod memory;
#[cfg(unix)]
mod paths;
mod protect;
mod reading;
mod released;
mod runs;
#[allow(dead_code)] // the small model of the file tests
#[path = "../files/small.rs"]
mod small;
mod text;
mod train;
mod tune;

use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

/// What a run left behind.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The program on the CPU backend, unless the arguments say otherwise.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairy2i-gpu"));
    command.args(args).env("FAIRY2I_DEVICE", "cpu");
    command.env("FAIRY2I_CACHE", "off");
    command.stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn run(args: &[&str]) -> Run {
    finish(command(args))
}

/// Runs it with `input` on standard input.
pub fn run_with(args: &[&str], input: &[u8]) -> Run {
    let mut command = command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input).expect("the program reads");
    drop(stdin);
    outcome(child.wait_with_output().expect("the program ends"))
}

/// Runs `command` to its end.
pub fn finish(mut command: Command) -> Run {
    outcome(command.output().expect("the program starts"))
}

fn outcome(output: std::process::Output) -> Run {
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    let run = Run {
        code: output.status.code().expect("not killed"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    };
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    run
}

/// Standard output of a run that must succeed.
#[track_caller]
pub fn good(args: &[&str]) -> String {
    let run = run(args);
    assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
    run.stdout
}

/// The JSON that a successful run prints.
#[track_caller]
pub fn json(args: &[&str]) -> Value {
    serde_json::from_str(&good(args)).expect("standard output is JSON")
}

/// A run that must fail with `code`, one line that contains all of `names`, and nothing on standard output.
#[track_caller]
pub fn refused(args: &[&str], code: i32, names: &[&str]) {
    let run = run(args);
    assert_eq!(run.code, code, "{args:?}: {}", run.stderr);
    assert_eq!(run.stdout, "", "{args:?}");
    let line = run.stderr.trim_end();
    assert!(line.starts_with("error: "), "{args:?}: {line}");
    assert!(!line.contains('\n'), "{args:?}: more than a line: {line}");
    for name in names {
        assert!(line.contains(name), "{args:?}: {name:?} is not in: {line}");
    }
}
