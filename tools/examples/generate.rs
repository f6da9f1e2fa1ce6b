//! The ten lines: a model, a prompt, its continuation as it comes.
//!
//! `cargo run --release --example generate` takes the built-in model; `-- FOLDER "PROMPT"` another one.

use fairy2i_gpu::{Device, Generate, Model, Options};
use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let device = Device::auto()?; // a GPU, or else the CPU
    let files = args.first().map_or_else(Model::builtin, Model::open)?;
    let model = files.load(&device, Options::default())?;
    let prompt = args.get(1).map_or("Once upon a time", String::as_str);
    print!("{prompt}");
    let mut text = model.generate(prompt, Generate::default())?;
    for piece in text.by_ref() {
        print!("{}", piece?);
        std::io::stdout().flush()?;
    }
    let rate = text.timings().decode_tokens_per_second();
    println!(
        "\n[{:?}, {:.0} tokens/s]",
        text.finish(),
        rate.unwrap_or_default()
    );
    Ok(())
}
