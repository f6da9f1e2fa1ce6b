//! A folder of `config.json` and `model.safetensors`: refused in one line, or a model all of whose layers load.
//!
//! Input: two little-endian u16 lengths, `config.json`, the header of the safetensors file, its data. The length
//! in front of the header is put in here, so that the fuzzer need not find it.
#![no_main]

use fairy2i_gpu::files::{Source, open_source};
use fairy2i_gpu::model::weights::packed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [a, b, c, d, rest @ ..] = data else {
        return;
    };
    let config = usize::from(u16::from_le_bytes([*a, *b]));
    let header = usize::from(u16::from_le_bytes([*c, *d]));
    let Some((config, rest)) = rest.split_at_checked(config) else {
        return;
    };
    let Some((header, data)) = rest.split_at_checked(header) else {
        return;
    };
    let length = (header.len() as u64).to_le_bytes();
    let files = [
        ("config.json".to_owned(), config.to_vec()),
        (
            "model.safetensors".to_owned(),
            [&length[..], header, data].concat(),
        ),
    ];
    match open_source(Source::memory("fuzz", files)) {
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains('\n'));
        }
        Ok(opened) => {
            for linear in opened.config.linears() {
                let stored = opened.weights.tensor(&format!("{}.codes", linear.prefix));
                if let (Some(recipe), Ok(Some(_))) = (opened.recipe, stored) {
                    // Only a ternary code 2 is left to be found here.
                    if let Err(error) = packed(&*opened.weights, recipe, &linear) {
                        assert!(error.to_string().contains("holds a code"));
                    }
                }
            }
        }
    }
});
