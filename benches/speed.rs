//! `cargo bench`: every operation against the copy bandwidth, and the built-in model, on the CPU backend and on
//! the best adapter. Arguments after `--` go to each run: `cargo bench -- -r 9 -o csv`. With
//! `FAIRY2I_SHAPE=llama2-7b` that shape is measured too, with synthetic weights made on the device.

use std::process::{Command, ExitCode};

/// The program's exit code where there is no such device.
const NO_DEVICE: i32 = 3;

/// Runs the program; its exit code.
fn run(args: &[&str], extra: &[String]) -> i32 {
    println!("\n$ fairy2i-gpu {}", args.join(" "));
    let status = Command::new(env!("CARGO_BIN_EXE_fairy2i-gpu"))
        .args(args)
        .args(extra)
        .status();
    status.ok().and_then(|s| s.code()).unwrap_or(1)
}

fn main() -> ExitCode {
    let given = std::env::args().skip(1);
    let extra: Vec<String> = given.filter(|a| a != "--bench").collect(); // cargo adds it
    let mut codes = vec![run(&["bench", "--device", "cpu"], &extra)];
    let on_gpu = run(&["bench", "--device", "gpu"], &extra);
    if on_gpu == NO_DEVICE {
        println!("no GPU adapter: only the CPU backend was measured");
    } else {
        codes.push(on_gpu);
        codes.push(run(&["bench", "ops", "--device", "gpu"], &extra));
        if let Ok(shape) = std::env::var("FAIRY2I_SHAPE") {
            for a in ["16", "8", "float"] {
                let shape = ["--shape", &shape, "--activations", a];
                let args = [&["bench", "--device", "gpu"], &shape[..]].concat();
                codes.push(run(&args, &extra));
            }
        }
    }
    if codes.iter().all(|&c| c == 0) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
