//! Which adapters are tried first. Pure functions of what the adapters say about themselves.
//!
//! - Real GPUs come before those that share memory with the host, and software comes last.
//! - A GPU that several graphics interfaces offer is one GPU. It is taken through the interface that stands first in
//!   the list of interfaces; the others are tried after it, before the next GPU, because a driver may fail in one of them only.

use super::adapter::AdapterSummary;
use std::collections::HashMap;

/// Graphics interfaces, the preferred ones first.
///
/// Vulkan is preferred to Direct3D 12: there, kernels get subgroups, 16-bit floats and cooperative matrices where the
/// GPU has them, and what was compiled is kept from run to run. Direct3D 12 offers the plain kernels only as long as
/// Microsoft's newer compiler (dxcompiler.dll) is not installed, and never cooperative matrices. No GPU has both Metal
/// and one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Api {
    Metal,
    Vulkan,
    Dx12,
    Other,
}

fn api(adapter: &AdapterSummary) -> Api {
    match adapter.api.as_str() {
        "Metal" => Api::Metal,
        "Vulkan" => Api::Vulkan,
        "Dx12" => Api::Dx12,
        _ => Api::Other,
    }
}

/// Who made a GPU, which model it is, and how many of the same kind come before it in its interface's list: the second of
/// two equal cards is the second one everywhere. `None` where the driver gives no numbers.
type Identity = (u32, u32, usize);

fn identities(all: &[AdapterSummary]) -> Vec<Option<Identity>> {
    let mut seen: HashMap<(&str, u32, u32), usize> = HashMap::new();
    let identity = |adapter: &'_ AdapterSummary, count: usize| {
        (adapter.vendor != 0 && !adapter.software).then_some((
            adapter.vendor,
            adapter.device,
            count,
        ))
    };
    let mut found = Vec::new();
    for adapter in all {
        let count = seen
            .entry((&adapter.api, adapter.vendor, adapter.device))
            .or_default();
        found.push(identity(adapter, *count));
        *count += 1;
    }
    found
}

/// Indexes of the adapters of each GPU, preferred interface first; the best GPU first.
pub fn gpus(all: &[AdapterSummary]) -> Vec<Vec<usize>> {
    let identities = identities(all);
    let mut found: Vec<Vec<usize>> = Vec::new();
    for (index, identity) in identities.iter().enumerate() {
        let same = |gpu: &&mut Vec<usize>| identity.is_some() && identities[gpu[0]] == *identity;
        match found.iter_mut().find(same) {
            Some(gpu) => gpu.push(index),
            None => found.push(vec![index]),
        }
    }
    for gpu in &mut found {
        gpu.sort_by_key(|&i| (api(&all[i]), i));
    }
    // interfaces may disagree on what a GPU is: the preferred one is believed
    found.sort_by_key(|gpu| {
        let best = &all[gpu[0]];
        (best.software, best.integrated, gpu.iter().min().copied())
    });
    found
}

/// Indexes of all adapters in the order to try them.
pub fn order(all: &[AdapterSummary]) -> Vec<usize> {
    gpus(all).into_iter().flatten().collect()
}

/// Those that `text` names, in the order to try them: it is an interface (`vulkan`, `dx12`, `metal`) or a part of a name.
pub fn named(all: &[AdapterSummary], text: &str) -> Vec<usize> {
    let text = text.to_lowercase();
    let ranked = order(all);
    let by_api = ranked.iter().copied();
    let by_api: Vec<_> = by_api
        .filter(|&i| all[i].api.to_lowercase() == text)
        .collect();
    if !by_api.is_empty() {
        return by_api;
    }
    let mut by_name = ranked;
    by_name.retain(|&i| all[i].name.to_lowercase().contains(&text));
    by_name
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTEL: (u32, u32) = (0x8086, 0x9a49);
    const NVIDIA: (u32, u32) = (0x10de, 0x2684);
    const NOBODY: (u32, u32) = (0, 0);

    fn adapter(name: &str, api: &str, (vendor, device): (u32, u32)) -> AdapterSummary {
        AdapterSummary {
            name: name.to_owned(),
            api: api.to_owned(),
            vendor,
            device,
            ..AdapterSummary::default()
        }
    }

    fn integrated(adapter: AdapterSummary) -> AdapterSummary {
        AdapterSummary {
            integrated: true,
            ..adapter
        }
    }

    fn software(adapter: AdapterSummary) -> AdapterSummary {
        AdapterSummary {
            software: true,
            ..adapter
        }
    }

    #[test]
    fn real_gpus_come_first_and_software_last() {
        let all = [
            software(adapter("llvmpipe", "Vulkan", (0x10005, 0))),
            integrated(adapter("Iris Xe", "Vulkan", INTEL)),
            adapter("RTX 4090", "Vulkan", NVIDIA),
        ];
        assert_eq!(order(&all), [2, 1, 0]);
        assert_eq!(order(&[]), [0; 0]);
    }

    #[test]
    fn vulkan_wins_over_dx12_of_the_same_gpu_however_they_are_listed() {
        let (dx12, vulkan) = (
            adapter("NVIDIA GeForce RTX 4090", "Dx12", NVIDIA),
            adapter("RTX 4090", "Vulkan", NVIDIA),
        );
        assert_eq!(gpus(&[dx12.clone(), vulkan.clone()]), [vec![1, 0]]);
        assert_eq!(gpus(&[vulkan, dx12]), [vec![0, 1]]);
    }

    #[test]
    fn a_gpu_without_vulkan_is_taken_through_dx12_before_a_lesser_one() {
        let all = [
            integrated(adapter("Iris Xe", "Vulkan", INTEL)),
            integrated(adapter("Iris Xe", "Dx12", INTEL)),
            adapter("RTX 4090", "Dx12", NVIDIA),
        ];
        assert_eq!(gpus(&all), [vec![2], vec![0, 1]]);
        assert_eq!(order(&all), [2, 0, 1]);
    }

    #[test]
    fn equal_cards_are_counted_in_each_interface() {
        let card = |api| adapter("RTX 4090", api, NVIDIA);
        let all = [card("Vulkan"), card("Vulkan"), card("Dx12"), card("Dx12")];
        assert_eq!(gpus(&all), [vec![0, 2], vec![1, 3]]);
    }

    #[test]
    fn software_and_adapters_without_numbers_are_nobody_elses() {
        let all = [
            adapter("Apple M1", "Metal", NOBODY),
            adapter("Apple M1", "Metal", NOBODY),
            software(adapter("Basic Render Driver", "Dx12", NVIDIA)),
            adapter("RTX 4090", "Vulkan", NVIDIA),
        ];
        assert_eq!(gpus(&all), [vec![0], vec![1], vec![3], vec![2]]);
    }

    #[test]
    fn the_preferred_interface_is_believed_on_what_a_gpu_is() {
        let all = [
            adapter("Iris Xe", "Dx12", INTEL),
            integrated(adapter("Iris Xe", "Vulkan", INTEL)),
            adapter("RTX 4090", "Vulkan", NVIDIA),
        ];
        assert_eq!(gpus(&all), [vec![2], vec![1, 0]]);
    }

    #[test]
    fn an_interface_or_a_part_of_a_name_chooses() {
        let all = [
            adapter("NVIDIA GeForce RTX 4090", "Dx12", NVIDIA),
            adapter("NVIDIA GeForce RTX 4090", "Vulkan", NVIDIA),
            integrated(adapter("Intel Iris Xe", "Dx12", INTEL)),
        ];
        assert_eq!(named(&all, "DX12"), [0, 2]);
        assert_eq!(named(&all, "vulkan"), [1]);
        assert_eq!(named(&all, "metal"), [0; 0]);
        assert_eq!(named(&all, "geforce"), [1, 0]);
        assert_eq!(named(&all, "iris"), [2]);
        assert_eq!(named(&all, "radeon"), [0; 0]);
    }
}
