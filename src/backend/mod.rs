//! Where ops run: host memory ([`Cpu`]), any GPU ([`Gpu`]), both in lockstep ([`Lockstep`]), or whichever of them a
//! program's user chose ([`Device`]).

mod autotune;
#[allow(clippy::module_inception)] // the trait that all others here implement
mod backend;
pub mod compare;
pub mod cpu;
mod device;
mod facts;
mod fill;
mod gpu;
mod host;
pub(crate) mod kept;
mod lockstep;
mod self_test;
#[cfg(feature = "translate")]
pub mod translate;
mod tuning;
mod words;
mod wrapper;

pub use autotune::{Autotune, Tunable};
#[cfg(feature = "blocking")]
pub use backend::block_on;
pub use backend::{Backend, Timing, kernel_for, upload_new};
pub use cpu::Cpu;
pub use device::{
    APIS, Device, DeviceAsked, DeviceBuffer, DeviceChoice, DeviceOptions, candidates,
};
pub use facts::DeviceFacts;
pub use fill::{Fill, Write};
pub use gpu::{AdapterSummary, Gpu, Options, adapters, ranking};
pub use lockstep::Lockstep;
pub use self_test::{Tested, self_test};
pub use tuning::Tuning;
pub use wrapper::Wrapper;
