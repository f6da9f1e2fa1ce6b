//! Any bytes as a GGUF file: refused in one line, or a model all of whose tensors can be read.
#![no_main]

use fairy2i_gpu::files::gguf::parse;
use fairy2i_gpu::files::{Source, open_source, plan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match parse("fuzz.gguf", data) {
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains('\n'));
        }
        Ok(file) => {
            let mut at = 0;
            for tensor in &file.tensors {
                assert!(at <= tensor.range.start && tensor.range.end <= data.len());
                at = tensor.range.end;
            }
            for array in file.metadata.values().filter_map(|value| value.array()) {
                assert_eq!(array.iter().count(), array.len());
            }
        }
    }
    let files = [("fuzz.gguf".to_owned(), data.to_vec())];
    match open_source(Source::memory("fuzz", files)) {
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains('\n'));
        }
        Ok(opened) => {
            for planned in plan::plan(&opened.config, opened.recipe.as_ref()) {
                let tensor = match opened.weights.tensor(&planned.name) {
                    Ok(tensor) => tensor,
                    // Scales that stand between codes are checked when they are read.
                    Err(error) if opened.recipe.is_some() => {
                        assert_eq!(error.exit_code(), 2);
                        continue;
                    }
                    Err(error) => panic!("{error}"),
                };
                let tensor = tensor.expect("it was planned");
                assert_eq!(tensor.shape, planned.shape);
                assert_eq!(tensor.bytes.len(), tensor.elements() * tensor.dtype.bytes());
            }
        }
    }
});
