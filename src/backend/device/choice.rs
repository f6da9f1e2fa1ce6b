//! Which device a person means, and which adapter that is.

use crate::backend::gpu::{AdapterSummary, ranking};
use crate::error::{Error, Result};
use std::convert::Infallible;
use std::str::FromStr;

/// Where to compute, as a person says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A real GPU, or else the CPU.
    #[default]
    Auto,
    /// The CPU backend.
    Cpu,
    /// The best adapter, software ones included.
    Gpu,
    /// The adapter with this index.
    Index(usize),
    /// The best adapter of this graphics interface (`vulkan`, `dx12`, `metal`), or whose name contains this.
    Name(String),
}

impl FromStr for DeviceChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.trim().to_lowercase().as_str() {
            "" | "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "gpu" => Self::Gpu,
            other => other
                .parse()
                .map_or_else(|_| Self::Name(text.trim().to_owned()), Self::Index),
        })
    }
}

/// Indexes of the adapters to try, best first ([`ranking`]: a GPU that is there through Vulkan and through DX12 is taken
/// through Vulkan); none means the CPU.
///
/// `auto` never takes a software adapter, because the CPU backend is faster than any of them; except for
/// `--check`, which is about shaders: there a software adapter beats none.
pub fn candidates(
    choice: &DeviceChoice,
    all: &[AdapterSummary],
    check: bool,
) -> Result<Vec<usize>> {
    let mut fitting = fitting(choice, all, check)?;
    if matches!(choice, DeviceChoice::Name(_)) {
        fitting.truncate(1); // a person who names one wants that one or an error
    }
    Ok(fitting)
}

/// All adapters that fit a choice, best first.
fn fitting(choice: &DeviceChoice, all: &[AdapterSummary], check: bool) -> Result<Vec<usize>> {
    let mut ranked = ranking::order(all);
    match choice {
        DeviceChoice::Cpu => return Ok(Vec::new()),
        DeviceChoice::Auto => ranked.retain(|&i| check || !all[i].software),
        _ if all.is_empty() => {
            return Err(Error::device(
                format!("no GPU was found ({APIS})"),
                "install its driver, or use the CPU backend",
            ));
        }
        DeviceChoice::Gpu => {}
        DeviceChoice::Index(index) => {
            ranked.retain(|i| i == index);
            if ranked.is_empty() {
                return Err(unknown(&format!("there is no device {index}"), all));
            }
        }
        DeviceChoice::Name(name) => {
            ranked = ranking::named(all, name);
            if ranked.is_empty() {
                let what = format!("no device is named `{name}`");
                return Err(unknown(&what, all));
            }
        }
    }
    Ok(ranked)
}

/// [`candidates`] of process number `rank` of this machine, where each process wants a GPU for itself. A choice that names
/// a single adapter, or leads to the CPU, is that of all.
///
/// # Errors
/// [`Error::Device`] when there are fewer GPUs.
pub(super) fn of_rank(
    choice: &DeviceChoice,
    all: &[AdapterSummary],
    check: bool,
    rank: usize,
) -> Result<Vec<usize>> {
    let candidates = fitting(choice, all, check)?;
    if matches!(choice, DeviceChoice::Index(_)) || candidates.is_empty() {
        return Ok(candidates);
    }
    let mut gpus = ranking::gpus(all);
    gpus.iter_mut()
        .for_each(|gpu| gpu.retain(|i| candidates.contains(i)));
    gpus.retain(|gpu| !gpu.is_empty());
    let there = gpus.len();
    let own = gpus.into_iter().nth(rank);
    own.ok_or_else(|| {
        Error::device(
            format!(
                "no GPU is left for rank {rank} of this machine, which has {there} of this choice"
            ),
            "start fewer ranks, or name the device of each",
        )
    })
}

/// Graphics interfaces that were asked for adapters, for messages.
pub const APIS: &str = if cfg!(target_arch = "wasm32") {
    "tried: WebGPU"
} else if cfg!(target_os = "windows") {
    "tried: Vulkan, DX12"
} else if cfg!(target_vendor = "apple") {
    "tried: Metal"
} else {
    "tried: Vulkan"
};

fn unknown(what: &str, all: &[AdapterSummary]) -> Error {
    let list: Vec<String> = (0..)
        .zip(all)
        .map(|(i, a): (usize, _)| format!("{i}: {} ({})", a.name, a.api))
        .collect();
    Error::device(
        format!("{what} ({APIS})"),
        format!(
            "choose auto, cpu, gpu, vulkan, dx12, metal, or one of {}",
            list.join(", ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(name: &str, software: bool, integrated: bool) -> AdapterSummary {
        AdapterSummary {
            name: name.to_owned(),
            api: "Vulkan".to_owned(),
            software,
            integrated,
            ..AdapterSummary::default()
        }
    }

    fn machine() -> Vec<AdapterSummary> {
        vec![
            adapter("llvmpipe", true, false),
            adapter("Iris Xe", false, true),
            adapter("NVIDIA H200", false, false),
            adapter("NVIDIA T4", false, false),
        ]
    }

    fn chosen(choice: &str, all: &[AdapterSummary], check: bool) -> Vec<usize> {
        let choice = choice.parse().expect("every text is a choice");
        candidates(&choice, all, check).expect("known device")
    }

    #[test]
    fn real_gpus_come_first_and_software_only_when_asked() {
        let all = machine();
        assert_eq!(chosen("auto", &all, false), [2, 3, 1]);
        assert_eq!(chosen("gpu", &all, false), [2, 3, 1, 0]);
        assert_eq!(chosen("auto", &all[..1], false), [0; 0]);
        assert_eq!(chosen("gpu", &all[..1], false), [0]);
        assert_eq!(chosen("auto", &all[..1], true), [0]);
        assert_eq!(chosen("auto", &[], true), [0; 0]);
        assert_eq!(chosen("CPU", &[], false), [0; 0]);
    }

    #[test]
    fn indexes_and_parts_of_names() {
        let all = machine();
        assert_eq!(chosen("0", &all, false), [0]);
        assert_eq!(chosen("iris", &all, false), [1]);
        assert_eq!(chosen("nvidia", &all, false), [2]);
        assert_eq!(chosen("vulkan", &all, false), [2]);
    }

    #[test]
    fn ranks_of_a_machine_take_a_gpu_each() {
        let all = machine();
        let own = |text: &str, rank| {
            let choice = text.parse().expect("every text is a choice");
            of_rank(&choice, &all, false, rank).ok()
        };
        assert_eq!(own("auto", 0), Some(vec![2]));
        assert_eq!(own("auto", 2), Some(vec![1]));
        assert_eq!(own("auto", 3), None);
        assert_eq!(own("nvidia", 1), Some(vec![3]));
        assert_eq!(own("nvidia", 2), None);
        assert_eq!(own("1", 7), Some(vec![1]));
        assert_eq!(own("cpu", 7), Some(vec![]));
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is() {
        let all = machine();
        for choice in ["4", "radeon"] {
            let error =
                candidates(&choice.parse().expect("a choice"), &all, false).expect_err("not there");
            assert_eq!(error.exit_code(), 3);
            assert!(
                error.to_string().contains("3: NVIDIA T4 (Vulkan)"),
                "{error}"
            );
        }
        let error = candidates(&DeviceChoice::Gpu, &[], false).expect_err("none");
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains(APIS), "{error}");
    }
}
