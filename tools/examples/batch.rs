//! Several prompts at once, of any lengths: they share every pass over the weights.
//!
//! `cargo run --release --example batch`

use fairy2i_gpu::{Device, Error, Generate, Model, Options};

fn main() -> Result<(), Error> {
    let model = Model::builtin()?.load(&Device::auto()?, Options::default())?;
    let prompts = ["Once upon a time", "The old captain", "It was a dark night"];
    let mut texts = prompts.map(str::to_owned);
    let options = Generate {
        max_tokens: Some(40),
        ..Generate::default()
    };
    let mut batch = model.batch(prompts, options)?;
    for piece in batch.by_ref() {
        let (i, piece) = piece?;
        texts[i].push_str(&piece.text);
    }
    for (i, text) in texts.iter().enumerate() {
        println!("{text}\n[{:?}]\n", batch.finish(i));
    }
    Ok(())
}
