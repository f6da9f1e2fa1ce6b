//! `info` without a model: the devices of this machine and the paths chosen on each.

use crate::backend::{APIS, DeviceChoice, candidates};
use crate::backend::{AdapterSummary, Backend, Cpu, adapters, kernel_for};
use crate::cli::args::DeviceArgs;
use crate::cli::out;
use crate::error::Result;
use crate::model::autotune::{Kept, kept};
use crate::ops::{Features, Op, Visitor, for_each};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Serialize)]
struct Devices {
    version: &'static str,
    /// What `--device auto` takes: an index, or `cpu`.
    auto: String,
    cpu: Processor,
    gpus: Vec<GpuInfo>,
}

#[derive(Serialize)]
struct Processor {
    name: String,
    threads: usize,
}

#[derive(Serialize)]
struct GpuInfo {
    index: usize,
    name: String,
    api: String,
    driver: String,
    kind: &'static str,
    features: Vec<&'static str>,
    limits: Limits,
    /// The kernel each op runs there.
    kernels: BTreeMap<&'static str, &'static str>,
    /// Ops without a kernel there, with the features that they would need; models run others instead.
    without_kernel: BTreeMap<&'static str, Vec<&'static str>>,
    /// File that keeps compiled kernels; `null` where the driver hands none out, or with `--cache off`.
    pipeline_cache: Option<PathBuf>,
    /// What autotuning chose, by the linear layers that it is for.
    tuned: Kept,
}

#[derive(Serialize)]
struct Limits {
    max_binding_bytes: u64,
    max_buffer_bytes: u64,
    /// Of the device, where its driver tells.
    memory_bytes: Option<u64>,
    workgroup_memory_bytes: u32,
    invocations_per_workgroup: u32,
    workgroups_per_dimension: u32,
}

/// Collects the kernel every op runs on a device with these features.
struct Kernels {
    features: Features,
    chosen: BTreeMap<&'static str, &'static str>,
    without: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Visitor for Kernels {
    fn visit<O: Op>(&mut self) {
        if let Some(kernel) = kernel_for::<O>(self.features) {
            self.chosen.insert(O::NAME, kernel.stem);
            return;
        }
        let lacking = O::SHADERS
            .iter()
            .map(|s| names(s.features.without(self.features)));
        let least = lacking.min_by_key(Vec::len).unwrap_or_default();
        self.without.insert(O::NAME, least);
    }
}

/// Features by the names that `info` gives them.
pub(super) fn names(features: Features) -> Vec<&'static str> {
    let all = [
        ("f16", features.f16),
        ("subgroup", features.subgroup),
        ("int64", features.int64),
        ("int16", features.int16),
        ("matrix", features.matrix),
    ];
    let there = all.into_iter().filter(|feature| feature.1);
    there.map(|feature| feature.0).collect()
}

/// Prints them.
pub(super) fn run(args: &DeviceArgs, json: bool) -> Result<()> {
    let all = pollster::block_on(adapters());
    let auto = candidates(&DeviceChoice::Auto, &all, false)?;
    let devices = Devices {
        version: env!("CARGO_PKG_VERSION"),
        auto: auto.first().map_or("cpu".to_owned(), usize::to_string),
        cpu: Processor {
            name: Cpu::new().name(),
            threads: crate::ops::host_threads(),
        },
        gpus: (0..)
            .zip(&all)
            .map(|a| gpu(a, args.cache_folder()))
            .collect(),
    };
    if json {
        return out::json(&devices);
    }
    out::print(&text(&devices))
}

fn gpu((index, adapter): (usize, &AdapterSummary), cache: Option<PathBuf>) -> GpuInfo {
    let mut kernels = Kernels {
        features: adapter.features,
        chosen: BTreeMap::new(),
        without: BTreeMap::new(),
    };
    for_each(&mut kernels);
    let tuned = cache
        .as_ref()
        .map(|folder| kept(&folder.join(&adapter.tuning_file)));
    let tuned = tuned.unwrap_or_default();
    GpuInfo {
        index,
        name: adapter.name.clone(),
        api: adapter.api.clone(),
        driver: adapter.driver.clone(),
        kind: match (adapter.software, adapter.integrated) {
            (true, _) => "software",
            (_, true) => "integrated",
            _ => "discrete",
        },
        features: names(adapter.features),
        limits: Limits {
            max_binding_bytes: adapter.max_binding,
            max_buffer_bytes: adapter.max_buffer,
            memory_bytes: adapter.memory,
            workgroup_memory_bytes: adapter.workgroup_memory,
            invocations_per_workgroup: adapter.invocations,
            workgroups_per_dimension: adapter.groups_per_dimension,
        },
        kernels: kernels.chosen,
        without_kernel: kernels.without,
        pipeline_cache: cache
            .zip(adapter.cache_file.as_ref())
            .map(|(folder, file)| folder.join(file)),
        tuned,
    }
}

fn text(devices: &Devices) -> String {
    let mut lines = vec![format!("cpu  {}", devices.cpu.name)];
    for gpu in &devices.gpus {
        lines.push(format!(
            "{:<3}  {} ({}, {})",
            gpu.index, gpu.name, gpu.api, gpu.kind
        ));
        let mut field = |name: &str, value: String| lines.push(format!("     {name:<9}{value}"));
        field("driver", gpu.driver.clone());
        let features = gpu.features.join(", ");
        field(
            "features",
            if features.is_empty() {
                "none of ours: plain kernels".to_owned()
            } else {
                features
            },
        );
        let l = &gpu.limits;
        if let Some(bytes) = l.memory_bytes {
            field("memory", out::memory(bytes));
        }
        field(
            "limits",
            format!(
                "binding {}, buffer {}, workgroup memory {}, {} invocations, {} workgroups a dimension",
                out::memory(l.max_binding_bytes),
                out::memory(l.max_buffer_bytes),
                out::memory(l.workgroup_memory_bytes.into()),
                l.invocations_per_workgroup,
                l.workgroups_per_dimension
            ),
        );
        let cache = gpu.pipeline_cache.as_ref();
        field(
            "cache",
            match cache {
                None => "none: kernels are compiled in every run".to_owned(),
                Some(path) if path.exists() => path.display().to_string(),
                Some(path) => format!("{}, not there yet", path.display()),
            },
        );
        for (class, chosen) in &gpu.tuned {
            field("tuned", format!("{class}: {chosen}"));
        }
        field("kernels", kernels(gpu));
        if !gpu.without_kernel.is_empty() {
            field("none for", without_kernel(gpu));
        }
    }
    if devices.gpus.is_empty() {
        lines.push(format!("no GPU was found ({})", APIS));
    }
    lines.push(format!("\n--device auto takes {}", devices.auto));
    lines.join("\n") + "\n"
}

/// How many ops have a kernel there, and which are not the plain ones.
fn kernels(gpu: &GpuInfo) -> String {
    let special = gpu.kernels.iter().filter(|(op, kernel)| op != kernel);
    let special: Vec<_> = special.map(|(_, kernel)| *kernel).collect();
    match special.as_slice() {
        [] => format!("{}, all plain", gpu.kernels.len()),
        some => format!("{}, plain but for {}", gpu.kernels.len(), some.join(", ")),
    }
}

/// The ops without a kernel, by what they would need.
fn without_kernel(gpu: &GpuInfo) -> String {
    let mut by_need: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (op, needs) in &gpu.without_kernel {
        by_need.entry(needs.join(" and ")).or_default().push(op);
    }
    let groups = by_need.iter();
    let groups = groups.map(|(needs, ops)| format!("{} (need {needs})", ops.join(", ")));
    groups.collect::<Vec<_>>().join("; ")
}
