//! Every op on every case on every backend and feature level present, against its reference.

mod common;

use common::{Device, Setup, setups};
use fairy2i_gpu::backend::compare::{Verdict, compare};
use fairy2i_gpu::backend::{Backend, Cpu, block_on};
use fairy2i_gpu::ops::{Access, Agree, Case, Data, Op, Visitor, for_each};

/// What an output holds before a run: a NaN, and nothing any kernel computes.
const POISON: u32 = 0x7fc0_dead;
/// What lies behind every buffer; nothing may touch it.
const SENTINEL: u32 = 0x7fc5_e471;
/// Words of it.
const FENCE: usize = 64;

struct Check {
    devices: Vec<(String, Device)>,
    ops: usize,
    cases: usize,
    runs: usize,
    exact: usize,
    bounded: usize,
    worst_ulp: (f64, String),
    worst_nmse: (f64, String),
    /// Ops that a device has no kernel for.
    without: std::collections::BTreeSet<String>,
    failures: Vec<String>,
}

/// Words of one binding before a run, without the fence.
fn contents(data: &Data) -> Vec<u32> {
    match data {
        Data::Words(words) => words.clone(),
        Data::Out(len) => vec![POISON; *len],
    }
}

async fn run_on<B: Backend, O: Op>(
    backend: &B,
    case: &Case<O>,
) -> fairy2i_gpu::Result<Vec<Vec<u32>>> {
    let mut buffers = Vec::new();
    for data in &case.data {
        let mut words = contents(data);
        words.resize(words.len() + FENCE, SENTINEL);
        buffers.push((
            fairy2i_gpu::backend::upload_new(backend, O::NAME, &words)?,
            words.len(),
        ));
    }
    let refs: Vec<_> = buffers.iter().map(|b| &b.0).collect();
    backend.run(&case.op, &refs).await?;
    let mut results = Vec::new();
    for (buffer, len) in &buffers {
        results.push(backend.download(buffer, 0, *len).await?);
    }
    Ok(results)
}

impl Check {
    fn judge<O: Op>(&mut self, id: &str, case: &Case<O>, expected: &[Vec<u32>], got: &[Vec<u32>]) {
        for (i, binding) in O::BINDINGS.iter().enumerate() {
            let (fence, got) = (&got[i][expected[i].len()..], &got[i][..expected[i].len()]);
            if fence.iter().any(|&w| w != SENTINEL) {
                self.failures
                    .push(format!("{id}: wrote behind `{}`", binding.name));
            }
            if binding.access != Access::Write {
                if got != contents(&case.data[i]) {
                    self.failures
                        .push(format!("{id}: changed its input `{}`", binding.name));
                }
                continue;
            }
            match compare(case.op.agree(), case.op.elem(i), got, &expected[i]) {
                Verdict::Differs { element, by } => self.failures.push(format!(
                    "{id}: `{}` element {element}: got {:#010x} ({}), reference {:#010x} ({}); off by {by:e}, {:?} promised",
                    binding.name,
                    got.get(element).copied().unwrap_or(0),
                    f32::from_bits(got.get(element).copied().unwrap_or(0)),
                    expected[i].get(element).copied().unwrap_or(0),
                    f32::from_bits(expected[i].get(element).copied().unwrap_or(0)),
                    case.op.agree()
                )),
                Verdict::Agrees(by) => match case.op.agree() {
                    Agree::Ulp(_) if by > self.worst_ulp.0 => self.worst_ulp = (by, id.to_owned()),
                    Agree::Nmse(_) if by > self.worst_nmse.0 => self.worst_nmse = (by, id.to_owned()),
                    _ => {}
                },
            }
        }
    }

    fn case<O: Op>(&mut self, case: &Case<O>) {
        let id = format!("{}, {}", O::NAME, case.name());
        let lengths = case.op.lengths();
        let given: Vec<usize> = case.data.iter().map(|d| contents(d).len()).collect();
        if lengths.len() != O::BINDINGS.len() || given.len() != lengths.len() {
            self.failures.push(format!(
                "{id}: {} bindings, {} lengths, {} buffers",
                O::BINDINGS.len(),
                lengths.len(),
                given.len()
            ));
            return;
        }
        for ((have, need), binding) in given.iter().zip(&lengths).zip(O::BINDINGS) {
            if have < need {
                self.failures.push(format!(
                    "{id}: `{}` has {have} words of {need}",
                    binding.name
                ));
                return;
            }
        }
        let oracle = Cpu::reference();
        let expected = match block_on(&oracle, run_on(&oracle, case)) {
            Ok(words) => words
                .into_iter()
                .map(|mut w| {
                    w.truncate(w.len() - FENCE);
                    w
                })
                .collect::<Vec<_>>(),
            Err(error) => {
                self.failures.push(format!("{id}: reference: {error}"));
                return;
            }
        };
        let touched = (0..given.len()).any(|i| {
            O::BINDINGS[i].access == Access::Write && expected[i] != contents(&case.data[i])
        });
        if !touched {
            self.failures.push(format!("{id}: touches no element"));
        }
        let devices = std::mem::take(&mut self.devices);
        for (name, device) in &devices {
            let id = format!("{id}, on {name}");
            if !device.runs::<O>() {
                self.without.insert(format!("{}, on {name}", O::NAME));
                continue;
            }
            match block_on(device, run_on(device, case)) {
                Ok(got) => self.judge(&id, case, &expected, &got),
                Err(error) => self.failures.push(format!("{id}: {error}")),
            }
            self.runs += 1;
        }
        self.devices = devices;
    }
}

impl Visitor for Check {
    fn visit<O: Op>(&mut self) {
        let wanted = std::env::var("FAIRY2I_OP").unwrap_or_default();
        if !O::NAME.contains(&wanted) {
            return;
        }
        let cases = O::cases();
        if cases.is_empty() {
            self.failures.push(format!("{}: no cases", O::NAME));
        }
        self.ops += 1;
        for case in &cases {
            self.cases += 1;
            match O::AGREE {
                Agree::Bits => self.exact += 1,
                _ => self.bounded += 1,
            }
            self.case(case);
        }
    }
}

/// The walk. `FAIRY2I_OP=name` restricts it while a kernel is being written.
#[test]
fn every_op_agrees_with_its_reference() {
    let mut devices = vec![("the CPU backend".to_owned(), Device::cpu())];
    for Setup { name, gpu } in setups() {
        devices.push((name, gpu.into()));
    }
    let names: Vec<_> = devices.iter().map(|d| d.0.clone()).collect();
    let mut check = Check {
        devices,
        ops: 0,
        cases: 0,
        runs: 0,
        exact: 0,
        bounded: 0,
        worst_ulp: (0.0, "none".into()),
        worst_nmse: (0.0, "none".into()),
        without: Default::default(),
        failures: Vec::new(),
    };
    for_each(&mut check);
    println!(
        "cross-check: {} ops, {} cases ({} exact, {} bounded), {} runs on {}\n  worst ULP {} ({})\n  worst NMSE {:e} ({})",
        check.ops,
        check.cases,
        check.exact,
        check.bounded,
        check.runs,
        names.join("; "),
        check.worst_ulp.0,
        check.worst_ulp.1,
        check.worst_nmse.0,
        check.worst_nmse.1,
    );
    for op in &check.without {
        println!("  not there: {op}");
    }
    assert!(
        check.failures.is_empty(),
        "{} disagreements:\n{}",
        check.failures.len(),
        check.failures.join("\n")
    );
}

/// That there was no adapter is seen in the output of a plain `cargo test`, which hides what passing tests print.
#[test]
#[cfg(target_os = "linux")] // drivers cannot be hidden elsewhere
fn the_lack_of_adapters_is_seen() {
    let itself = std::env::current_exe().expect("this program");
    let output = std::process::Command::new(itself)
        .args(["--exact", "every_op_agrees_with_its_reference"])
        .env("FAIRY2I_OP", "argmax")
        .env("VK_DRIVER_FILES", "/nonexistent")
        .env("VK_ICD_FILENAMES", "/nonexistent")
        .env_remove("CI")
        .output()
        .expect("runs");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{err}");
    assert!(err.contains("NO GPU ADAPTER WAS FOUND"), "{out}{err}");
    assert!(
        out.contains("1 passed") && !out.contains("cross-check:"),
        "{out}"
    );
}
