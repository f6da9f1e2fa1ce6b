//! The model inside the program, so that a bare clone can generate text.
//!
//! It is a LLaMA of 12.6 million parameters, trained on novels, children's stories and encyclopedia text (`novella`),
//! whose linear layers this program then taught to have two bits a weight, with the full-precision model as their
//! teacher. The files in `model/`, in the packed format of [`crate::files::packed`], are `RUN/packed` of
//!
//! ```text
//! fairy2i-gpu data --tokenizer novella --block 512 --out DATA corpus.jsonl.zst
//! fairy2i-gpu train -m novella --data DATA --out RUN --method fairy2i --stages 2 --distill 0.5 --steps 700 \
//!     --seq 512 --micro-batch 64 --batch-tokens 32768 --lr 1e-3 --warmup 30 --schedule linear --decay-from 500 --seed 42
//! ```
//!
//! on an NVIDIA H200 (one minute), and are opened like those of any other model. README.md has its perplexities.

use crate::files::Source;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("model/", $name)))),*]
    };
}

/// Its files by name. A static: a constant's six megabytes may be in the program twice.
pub static FILES: &[(&str, &[u8])] = files![
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Where [`crate::files::open_source`] finds it.
pub fn source() -> Source {
    let files = FILES
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), *bytes));
    Source::memory("builtin", files)
}
