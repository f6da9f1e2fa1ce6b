//! Which device a verb runs on.

use super::args::{DeviceArgs, DeviceChoice};
use super::out;
use crate::backend::{AdapterSummary, Backend, Cpu, Gpu, Options, Twin, adapters};
use crate::error::{Error, Result};

/// Mesa's device-selection layer complains on standard error when there is no desktop, at every look for
/// adapters. It only reorders them, which [`candidates`] does itself.
pub fn silence_layers() {
    let unset = |name| std::env::var_os(name).is_none();
    if cfg!(target_os = "linux") && unset("MESA_VK_DEVICE_SELECT") && unset("NODEVICE_SELECT") {
        // SAFETY: called first thing in `main`, before any other thread exists.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var("NODEVICE_SELECT", "1")
        };
    }
}

/// Something that runs on any backend: what a verb does once its device is chosen.
pub trait Task {
    /// Its result.
    type Output;
    /// Does it.
    fn run<B: Backend>(self, backend: &B) -> Result<Self::Output>;
}

/// An open device.
pub enum Device {
    /// The CPU backend.
    Cpu(Cpu),
    /// A GPU.
    Gpu(Box<Gpu>),
}

/// Runs `task` on the device that `args` ask for, with the reference beside it if they ask for that.
pub fn run_on<T: Task>(args: &DeviceArgs, task: T) -> Result<T::Output> {
    open(args)?.run(args.check, task)
}

impl Device {
    /// Runs `task` on it, with the reference beside it if `check`.
    pub fn run<T: Task>(&self, check: bool, task: T) -> Result<T::Output> {
        match self {
            Self::Cpu(cpu) => run_checked(check, cpu, task),
            Self::Gpu(gpu) => run_checked(check, gpu.as_ref(), task),
        }
    }

    /// Whether it is a real GPU, not the CPU in one form or another.
    pub fn is_hardware(&self) -> bool {
        matches!(self, Self::Gpu(gpu) if !gpu.summary().software)
    }
}

fn run_checked<B: Backend, T: Task>(check: bool, backend: &B, task: T) -> Result<T::Output> {
    if !check {
        return task.run(backend);
    }
    let twin = Twin::new(backend);
    let output = task.run(&twin)?;
    out::note(&format!(
        "check: {} ops on {} agree with the reference",
        twin.compared(),
        backend.name()
    ));
    Ok(output)
}

/// Opens the device that `args` ask for. An adapter that does not open is passed over, and said so, where
/// `args` leave a choice.
pub fn open(args: &DeviceArgs) -> Result<Device> {
    open_with(args, false)
}

/// [`open`], able to time ops by its own clock if it has one and `profile` is set.
pub fn open_with(args: &DeviceArgs, profile: bool) -> Result<Device> {
    if args.device == DeviceChoice::Cpu {
        return Ok(Device::Cpu(Cpu::new()));
    }
    let all = pollster::block_on(adapters());
    let mut refused = None;
    for index in candidates(&args.device, &all, args.check)? {
        let options = Options {
            cache: args.cache_folder(),
            profile,
            ..Options::default()
        };
        match pollster::block_on(Gpu::open(index, options)) {
            Ok(gpu) => return Ok(Device::Gpu(Box::new(gpu))),
            Err(error) => {
                out::note(&format!("warning: {}", out::one_line(&error.to_string())));
                refused = Some(error);
            }
        }
    }
    match (&args.device, refused) {
        (DeviceChoice::Auto, _) | (_, None) => Ok(Device::Cpu(Cpu::new())),
        (_, Some(error)) => Err(error),
    }
}

/// Indexes of the adapters to try, best first; none means the CPU.
///
/// `auto` never takes a software adapter, because the CPU backend is faster than any of them; except for
/// `--check`, which is about shaders: there a software adapter beats none.
pub fn candidates(
    choice: &DeviceChoice,
    all: &[AdapterSummary],
    check: bool,
) -> Result<Vec<usize>> {
    let mut ranked: Vec<usize> = (0..all.len()).collect();
    ranked.sort_by_key(|&i| (all[i].software, all[i].integrated, i));
    match choice {
        DeviceChoice::Cpu => return Ok(Vec::new()),
        DeviceChoice::Auto => ranked.retain(|&i| check || !all[i].software),
        _ if all.is_empty() => {
            return Err(Error::device(
                format!("no GPU was found ({BACKENDS})"),
                "install its driver, or use --device cpu",
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
            let part = name.to_lowercase();
            ranked.retain(|&i| all[i].name.to_lowercase().contains(&part));
            ranked.truncate(1); // a person who names one wants that one or an error
            if ranked.is_empty() {
                let what = format!("no device is named `{name}`");
                return Err(unknown(&what, all));
            }
        }
    }
    Ok(ranked)
}

/// Graphics interfaces that were asked for adapters, for messages.
pub const BACKENDS: &str = if cfg!(target_os = "windows") {
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
    Error::usage(
        format!("{what} ({BACKENDS})"),
        format!("choose auto, cpu, gpu, or one of {}", list.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Needs;

    fn adapter(name: &str, software: bool, integrated: bool) -> AdapterSummary {
        AdapterSummary {
            name: name.to_owned(),
            api: "Vulkan".to_owned(),
            driver: String::new(),
            software,
            integrated,
            level: Needs::NONE,
            subgroup_size: 1,
            max_binding: 0,
            max_buffer: 0,
            memory: None,
            workgroup_memory: 0,
            invocations: 0,
            groups_per_dimension: 0,
            cache_file: None,
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
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is() {
        let all = machine();
        for choice in ["4", "radeon"] {
            let error =
                candidates(&choice.parse().expect("a choice"), &all, false).expect_err("not there");
            assert_eq!(error.exit_code(), 2);
            assert!(
                error.to_string().contains("3: NVIDIA T4 (Vulkan)"),
                "{error}"
            );
        }
        let error = candidates(&DeviceChoice::Gpu, &[], false).expect_err("none");
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains(BACKENDS), "{error}");
    }
}
