//! Every op on every case on every backend and set of features present, against its reference.

mod common;

use common::{Device, Setup, plain_setups, setups};
use fairy2i_gpu::backend::compare::{Verdict, compare};
use fairy2i_gpu::backend::{Backend, Cpu, block_on, kernel_for};
use fairy2i_gpu::ops::{Access, Agree, Case, Data, Features, Op, Visitor, for_each};
use std::collections::{BTreeMap, BTreeSet};

/// What an output holds before a run: a NaN, and nothing any kernel computes.
const POISON: u32 = 0x7fc0_dead;
/// What lies behind every buffer; nothing may touch it.
const SENTINEL: u32 = 0x7fc5_e471;
/// Words of it.
const FENCE: usize = 64;

/// Outputs that some cases write in part, as one shard or one stage of several does, or not at all, as a product without a
/// gate leaves the largest magnitudes and layers without positions leave queries: what stays is not asked of the reference,
/// and devices must write all that it writes.
const PARTIAL: [(&str, &str); 7] = [
    ("baseline_sum", "sums"),
    ("phase_gemv_fused", "absmax_partials"),
    ("phase_mean", "scales"),
    ("phase_pack", "codes"),
    ("phase_pack", "errors"),
    ("phase_scale", "sums"),
    ("rope", "qkv"),
];

struct Check {
    devices: Vec<(String, Device)>,
    /// Devices that run kernels without tricks for compilers: for ops whose kernels have some.
    plain: Vec<(String, Device)>,
    ops: usize,
    cases: usize,
    runs: usize,
    exact: usize,
    bounded: usize,
    worst_ulp: (f64, String),
    worst_nmse: (f64, String),
    kernels: Kernels,
    failures: Vec<String>,
}

/// Which kernels ran, and which could not.
#[derive(Default)]
struct Kernels {
    /// Kernels that ran on some GPU here, and those that ran on none.
    ran: BTreeMap<&'static str, bool>,
    /// Ops that a GPU has no kernel for, with it.
    ops_left_out: BTreeSet<String>,
    /// Kernels that a GPU lacks features for, with it and them.
    left_out: BTreeSet<String>,
}

impl Kernels {
    /// Notes what becomes of the kernels of `O` on a GPU that has `features`.
    fn note<O: Op>(&mut self, device: &str, features: Features) {
        let chosen = kernel_for::<O>(features).map(|shader| shader.stem);
        for shader in O::SHADERS {
            *self.ran.entry(shader.stem).or_default() |= chosen == Some(shader.stem);
            if !features.covers(shader.features) {
                let lacks = names(shader.features.without(features));
                let what = format!("{} on {device}, which lacks {lacks}", shader.stem);
                self.left_out.insert(what);
            }
        }
        if chosen.is_none() {
            self.ops_left_out.insert(format!("{} on {device}", O::NAME));
        }
    }

    /// Kernels that ran on no GPU here.
    fn never(&self) -> Vec<&'static str> {
        let all = self.ran.iter();
        all.filter(|(_, ran)| !**ran)
            .map(|(stem, _)| *stem)
            .collect()
    }

    fn summary(&self) -> String {
        format!(
            "{} of {} kernels ran on no GPU here; {} times a GPU lacks what a kernel needs, {} times what every kernel of \
             an op needs",
            self.never().len(),
            self.ran.len(),
            self.left_out.len(),
            self.ops_left_out.len()
        )
    }

    /// Says past the capture of test output which kernels nothing here has verified.
    fn warn(&self) {
        use std::io::Write;
        let never = self.never();
        if !never.is_empty() {
            let never = never.join(", ");
            let _ = writeln!(
                std::io::stderr(),
                "\n*** cross_check: {}: {never} ***",
                self.summary()
            );
        }
    }
}

/// Names of features, for people.
fn names(features: Features) -> String {
    let all = [
        ("subgroups", features.subgroup),
        ("f16", features.f16),
        ("64-bit integers", features.int64),
        ("16-bit integers", features.int16),
        ("cooperative matrices", features.matrix),
    ];
    let all = all.into_iter().filter(|(_, has)| *has);
    all.map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

/// Words of one binding before a run, without the fence.
fn contents(data: &Data) -> Vec<u32> {
    match data {
        Data::Words(words) => words.clone(),
        Data::Out(len) => vec![POISON; *len],
    }
}

/// The first word of an output without contents that still has none.
fn unwritten(data: &Data, words: &[u32]) -> Option<usize> {
    match data {
        Data::Words(_) => None,
        Data::Out(_) => words.iter().position(|&word| word == POISON),
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
            let left = got.iter().zip(&expected[i]);
            let mut left = left.map(|(&got, &wanted)| got == POISON && wanted != POISON);
            if let Some(word) = left.position(|left| left) {
                self.failures.push(format!(
                    "{id}: left word {word} of `{}` unwritten",
                    binding.name
                ));
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

    /// Some output is changed by the reference; every one but those of [`PARTIAL`], and all of those that have no contents
    /// before ([`Data::Out`]).
    fn outputs_are_written<O: Op>(&mut self, id: &str, case: &Case<O>, expected: &[Vec<u32>]) {
        let changed = |i: usize| expected[i] != contents(&case.data[i]);
        let mut outputs = (0..expected.len()).filter(|&i| O::BINDINGS[i].access == Access::Write);
        if !outputs.any(changed) {
            self.failures.push(format!("{id}: touches no element"));
        }
        for ((binding, data), expected) in O::BINDINGS.iter().zip(&case.data).zip(expected) {
            if binding.access != Access::Write || PARTIAL.contains(&(O::NAME, binding.name)) {
                continue;
            }
            if *expected == contents(data) {
                self.failures
                    .push(format!("{id}: the reference leaves `{}`", binding.name));
            } else if let Some(word) = unwritten(data, expected) {
                let name = binding.name;
                self.failures.push(format!(
                    "{id}: the reference leaves word {word} of `{name}`: give the case its contents before"
                ));
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
        self.outputs_are_written(&id, case, &expected);
        let devices = std::mem::take(&mut self.devices);
        let plain = std::mem::take(&mut self.plain);
        let tricky = O::SHADERS.iter().any(|s| s.has_tricks(O::BINDINGS));
        for (name, device) in devices.iter().chain(plain.iter().filter(|_| tricky)) {
            let id = format!("{id}, on {name}");
            if !device.runs::<O>() {
                continue;
            }
            match block_on(device, run_on(device, case)) {
                Ok(got) => self.judge(&id, case, &expected, &got),
                Err(error) => self.failures.push(format!("{id}: {error}")),
            }
            self.runs += 1;
        }
        self.devices = devices;
        self.plain = plain;
    }
}

impl Check {
    /// Names and features of the devices that run kernels.
    fn gpus(&self) -> Vec<(String, Features)> {
        let gpus = self.devices.iter().filter(|(_, device)| !device.is_cpu());
        gpus.map(|(name, device)| (name.clone(), device.facts().features))
            .collect()
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
        for (device, features) in self.gpus() {
            self.kernels.note::<O>(&device, features);
        }
        let mut names = BTreeSet::new();
        for case in &cases {
            if !names.insert(case.name()) {
                self.failures
                    .push(format!("{}: two cases are called {}", O::NAME, case.name()));
            }
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
    let plain = plain_setups().into_iter();
    let plain: Vec<_> = plain.map(|s| (s.name, s.gpu.into())).collect();
    let names: Vec<_> = devices.iter().chain(&plain).map(|d| d.0.clone()).collect();
    let mut check = Check {
        devices,
        plain,
        ops: 0,
        cases: 0,
        runs: 0,
        exact: 0,
        bounded: 0,
        worst_ulp: (0.0, "none".into()),
        worst_nmse: (0.0, "none".into()),
        kernels: Kernels::default(),
        failures: Vec::new(),
    };
    for_each(&mut check);
    println!(
        "cross-check: {} ops, {} cases ({} exact, {} bounded), {} runs on {}; {}\n  worst ULP {} ({})\n  worst NMSE {:e} ({})",
        check.ops,
        check.cases,
        check.exact,
        check.bounded,
        check.runs,
        names.join("; "),
        check.kernels.summary(),
        check.worst_ulp.0,
        check.worst_ulp.1,
        check.worst_nmse.0,
        check.worst_nmse.1,
    );
    for op in &check.kernels.ops_left_out {
        println!("  no kernel runs: {op}");
    }
    for kernel in &check.kernels.left_out {
        println!("  not run: {kernel}");
    }
    if names.len() > 1 {
        check.kernels.warn();
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
