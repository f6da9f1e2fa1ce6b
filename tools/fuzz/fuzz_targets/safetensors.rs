//! Any bytes as a safetensors file: refused in one line, or tiled by its tensors.
#![no_main]

use fairy2i_gpu::files::safetensors::entries;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match entries("fuzz.safetensors", data) {
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains('\n'));
        }
        Ok(all) => {
            let mut at = all.first().map_or(data.len(), |entry| entry.range.start);
            for entry in all {
                assert_eq!(entry.range.start, at);
                at = entry.range.end;
                let _ = entry.shape.iter().product::<usize>();
            }
            assert_eq!(at, data.len());
        }
    }
});
