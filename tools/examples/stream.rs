//! Generating without blocking: the same model on any executor, here the smallest one there is.
//!
//! `cargo run --release --example stream`

use fairy2i_gpu::backend::block_on;
use fairy2i_gpu::{Device, DeviceChoice, DeviceOptions, Error, Generate, Model, Options};

async fn stream(device: &Device) -> Result<(), Error> {
    let files = Model::builtin()?;
    let mut loaded = |layer: &str| eprintln!("loaded {layer}");
    let model = files
        .load_async(device, Options::default(), &mut loaded)
        .await?;
    let options = Generate {
        max_tokens: Some(32),
        stop: vec![".".to_owned()],
        ..Generate::greedy()
    };
    let mut text = model.generate_async("The old captain", options).await?;
    while let Some(piece) = text.next_piece().await? {
        println!("{:>6}  {:?}", piece.id, piece.text);
    }
    println!("{:?} after {:?}", text.finish(), text.timings());
    Ok(())
}

fn main() -> Result<(), Error> {
    let choice = std::env::args().nth(1).unwrap_or_default();
    let Ok(choice) = choice.parse::<DeviceChoice>();
    let device = Device::open(&choice, &DeviceOptions::default())?;
    // An executor must let the device report what it has done; this one polls it whenever nothing else is left to do.
    block_on(&device, stream(&device))
}
