//! Which device a command runs on.

use super::args::DeviceArgs;
use super::{out, ranks};
use crate::backend::{Backend, Cpu, Device, DeviceChoice, DeviceOptions, Options, block_on};
use crate::error::{Error, Result};
use crate::generate::{self, Model, ModelFiles};
use crate::model::Pipeline;
use crate::ranks::Ranks;

/// Mesa's device-selection layer complains on standard error when there is no desktop, at every look for
/// adapters. It only reorders them, which the choice of a device does itself.
pub(super) fn silence_layers() {
    let unset = |name| std::env::var_os(name).is_none();
    if cfg!(target_os = "linux") && unset("MESA_VK_DEVICE_SELECT") && unset("NODEVICE_SELECT") {
        // SAFETY: called first thing in `main`, before any other thread exists.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var("NODEVICE_SELECT", "1")
        };
    }
}

/// Brings a model onto `device`, with a bar of its progress if `show`: all of it, or the layers of one rank.
pub(super) fn load(
    files: ModelFiles,
    device: &Device,
    options: generate::Options,
    pipeline: Option<Pipeline>,
    show: bool,
) -> Result<Model> {
    let bar = out::progress(show, files.config().linears().len());
    let mut progress = |name: &str| {
        bar.set_message(name.to_owned());
        bar.inc(1);
    };
    let loaded = files.load_among(device, options, pipeline, &mut progress);
    let model = block_on(device, loaded);
    bar.finish_and_clear();
    model
}

/// Something that runs on a device: what a command does once its device is chosen.
pub(super) trait Task {
    /// Its result.
    type Output;
    /// Does it.
    fn run<B: Backend>(self, backend: &B) -> Result<Self::Output>;
}

/// Runs `task` on the device that `args` ask for, with the reference beside it if they ask for that.
pub(super) fn run_on<T: Task>(args: &DeviceArgs, task: T) -> Result<T::Output> {
    run(&open(args)?, task)
}

/// Runs `task` on `device`, and says how much was compared if it is checked.
pub(super) fn run<T: Task>(device: &Device, task: T) -> Result<T::Output> {
    let output = task.run(device)?;
    report_check(device);
    Ok(output)
}

/// Says how much of what ran on `device` was compared with the reference, if it was.
pub(super) fn report_check(device: &Device) {
    if let Some(compared) = device.compared() {
        out::note(&format!("check: {compared} ops on {}", agrees(device)));
    }
}

/// `NAME agree with the reference`; a checked device's own name says already that it is.
fn agrees(device: &Device) -> String {
    let name = device
        .adapter()
        .map_or_else(|| Cpu::new().name(), |a| format!("{} ({})", a.name, a.api));
    format!("{name} agree with the reference")
}

/// Opens the device that `args` ask for. An adapter that does not open is passed over, and said so, where
/// `args` leave a choice.
pub(super) fn open(args: &DeviceArgs) -> Result<Device> {
    open_with(args, false)
}

/// [`open`], able to time ops by its own clock if it has one and `profile` is set.
pub(super) fn open_with(args: &DeviceArgs, profile: bool) -> Result<Device> {
    open_as(args, &args.device, None, profile)
}

/// [`open`] for one of several ranks: each rank of a host takes another device of those that `args` leave to choose, or its
/// own of a list.
pub(super) fn open_for(args: &DeviceArgs, ranks: &dyn Ranks, profile: bool) -> Result<Device> {
    let choice = match &args.device {
        DeviceChoice::Name(list) => ranks::own(list, ranks)?.parse().unwrap_or_default(),
        choice => choice.clone(),
    };
    let several = ranks.local_size() > 1;
    open_as(args, &choice, several.then(|| ranks.local_rank()), profile)
}

fn open_as(
    args: &DeviceArgs,
    choice: &DeviceChoice,
    rank: Option<usize>,
    profile: bool,
) -> Result<Device> {
    let options = DeviceOptions {
        rank,
        check: args.check,
        gpu: Options {
            cache: args.cache_folder(),
            autotune: args.autotune.into(),
            autotune_begins: |device| {
                let what = "for this shape of model, once: a second or two";
                out::note(&format!(
                    "measuring which kernels are fastest on {device} {what}"
                ));
            },
            profile,
            ..Options::default()
        },
    };
    let mut warn = |error: &Error| {
        out::note(&format!("warning: {}", out::one_line(&error.to_string())));
    };
    pollster::block_on(Device::open_async(choice, &options, &mut warn))
}
