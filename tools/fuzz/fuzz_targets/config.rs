//! Any bytes as `config.json` (and, after a byte 0xFF, `generation_config.json`): refused in one line, or a
//! configuration that can be computed with and that reads back after it was written.
#![no_main]

use fairy2i_gpu::files::config::{parse, to_json};
use fairy2i_gpu::model::Dtype;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let cut = data.iter().position(|&byte| byte == 0xFF);
    let (config, generation) = data.split_at(cut.unwrap_or(data.len()));
    let generation = generation.get(1..).map(|bytes| ("generation", bytes));
    match parse("config", config, generation) {
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains('\n'));
        }
        Ok((config, recipe)) => {
            assert_eq!(config.heads % config.kv_heads, 0);
            assert_eq!(config.head_dim % 2, 0);
            // A model of thousands of layers is fine, but listing their names takes too long here.
            if config.layers < 100 {
                assert!(config.parameters() < usize::MAX / 8);
            }
            let written = to_json(&config, recipe.as_ref(), Dtype::F32, None);
            let text = serde_json::Value::from(written).to_string();
            let (again, recipe_again) =
                parse("written", text.as_bytes(), None).expect("reads back");
            assert_eq!((again, recipe_again), (config, recipe));
        }
    }
});
