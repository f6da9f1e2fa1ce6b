//! Autotuning: whatever is chosen, the bits stay, and what was chosen once is not measured again.

use super::{PHASE, common, logits, options};
use fairy2i_gpu::backend::{Autotune, Backend, Gpu, Options, adapters, block_on};
use fairy2i_gpu::model::Granularity;
use fairy2i_gpu::model::autotune::kept;
use fairy2i_gpu::ops::quantize::Activations;

#[test]
fn what_is_chosen_changes_no_bit_and_is_kept() {
    let _one = common::one_at_a_time();
    for (index, adapter) in pollster::block_on(adapters()).iter().enumerate() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = Some(folder.path().join("cache"));
        let open = |autotune, autotune_begins: fn(&str)| {
            let options = Options {
                cache: cache.clone(),
                autotune,
                autotune_begins,
                ..Options::default()
            };
            pollster::block_on(Gpu::open(index, options)).expect("it opens")
        };
        let again: fn(&str) = |device| panic!("{device} was measured again");
        for mode in [Activations::Int8, Activations::Int16] {
            let run = |gpu: &Gpu| {
                let mut options = options(PHASE, Granularity::Tensor, mode);
                options.exact = true; // float sums on cooperative matrices are of the class, as they are without tuning
                block_on(gpu, logits(gpu, options)).expect("logits")
            };
            let usual = open(Autotune::Off, again);
            let expected = run(&usual);
            let measured = open(Autotune::Again, |_| {});
            assert!(measured.tunable().is_some());
            assert_eq!(run(&measured), expected, "{mode}");
            assert!(measured.tunable().is_none(), "it was tuned");
            // Loading another model leaves the numbers that the buffers of the first one have.
            let tuning = measured.facts().tuning;
            run(&measured);
            assert_eq!(measured.facts().tuning, tuning);

            let known = open(Autotune::On, again);
            assert_eq!(run(&known), expected, "{mode}");
            assert_eq!(known.facts().tuning, tuning);
            let off = open(Autotune::Off, again);
            run(&off);
            assert_eq!(off.facts().tuning, usual.facts().tuning);
        }
        let file = folder.path().join("cache").join(&adapter.tuning_file);
        let chosen = kept(&file);
        assert_eq!(chosen.len(), 2, "{chosen:?}");
        for (class, chosen) in chosen {
            assert!(class.contains("64x"), "{class}");
            assert!(chosen.measured.iter().all(|m| m.microseconds > 0.0));
            assert!(!chosen.measured.is_empty(), "{chosen:?}");
        }
    }
}
