//! The facts of an adapter, as models ask for them.

use super::adapter::AdapterSummary;
use crate::backend::facts::DeviceFacts;
use crate::backend::tuning::Tuning;
use crate::ops::phase::CodeLayout;
use crate::ops::{Features, Kv};

/// The numbers of the class that an adapter belongs to.
pub(super) fn tuning(summary: &AdapterSummary, features: Features) -> Tuning {
    match (summary.software, features.covers(Features::MATRIX)) {
        (true, _) => Tuning::SOFTWARE,
        (false, true) if !summary.integrated => Tuning::LARGE_GPU,
        (false, _) => Tuning::GPU,
    }
}

/// The facts of an adapter when `features` of it and bindings of up to `max_binding` bytes are used.
pub(super) fn facts(
    summary: &AdapterSummary,
    features: Features,
    max_binding: u64,
    tuning: Tuning,
) -> DeviceFacts {
    DeviceFacts {
        name: format!("{} ({})", summary.name, summary.api),
        max_words: (max_binding / 4) as usize,
        memory: summary.memory,
        on_host: summary.software || summary.integrated,
        workgroup_bytes: summary.workgroup_memory as usize,
        subgroup_size: match features.subgroup {
            true => summary.subgroup_size as usize,
            false => 1,
        },
        kv: Kv::F16,
        codes: CodeLayout::Rows,
        tuning,
        features,
    }
}
