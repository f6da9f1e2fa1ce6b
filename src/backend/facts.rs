//! The facts that a model has to know of the device it runs on, as one value.

use super::tuning::Tuning;
use crate::ops::phase::CodeLayout;
use crate::ops::{Features, Kv};

/// Facts of a device. Every backend states them once, when it is opened; a backend that wraps another one passes them
/// on, or changes the few that it is there to change.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceFacts {
    /// Name for people, with the graphics interface of a GPU and the threads of a CPU.
    pub name: String,
    /// Most 32-bit words of one buffer. Larger tensors are split over several buffers.
    pub max_words: usize,
    /// Bytes of memory that all buffers share, where the device tells.
    pub memory: Option<u64>,
    /// Whether buffers lie in the host's memory.
    pub on_host: bool,
    /// Bytes of workgroup memory that a kernel may use.
    pub workgroup_bytes: usize,
    /// Fewest invocations of a subgroup; 1 without subgroups.
    pub subgroup_size: usize,
    /// How keys and values are best cached here.
    pub kv: Kv,
    /// How codes best lie for products with integer activations. Other products read them row after row.
    pub codes: CodeLayout,
    /// Numbers found by measuring devices of its class.
    pub tuning: Tuning,
    /// Optional abilities that kernels may use. Hosts have none of them, and need none.
    pub features: Features,
}

impl DeviceFacts {
    /// The facts of host memory.
    pub fn host(name: String) -> Self {
        Self {
            name,
            max_words: usize::MAX / 8,
            memory: None,
            on_host: true,
            workgroup_bytes: usize::MAX,
            subgroup_size: 1,
            kv: Kv::F32,
            codes: crate::ops::host_layout(),
            tuning: Tuning::HOST,
            features: Features::NONE,
        }
    }
}
