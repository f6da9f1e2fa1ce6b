//! A packed folder from a full-precision one, two bits a weight by rounding alone.
//!
//! `cargo run --release --example quantize -- LLAMA PACKED`

use fairy2i_gpu::convert::{QuantizeOptions, quantize_folder};
use fairy2i_gpu::{Device, Error, Model};

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = &args[..] else {
        let hint = "name a folder to read and a folder to write";
        return Err(Error::usage("two folders are needed", hint));
    };
    let (files, device) = (Model::open(from)?, Device::auto()?);
    let made = quantize_folder(&files, to, &device, QuantizeOptions::default(), &mut |at| {
        eprintln!("{} of {}: {}", at.done, at.of, at.next);
    })?;
    for layer in &made.layers {
        let error = layer.relative_error.unwrap_or_default();
        println!(
            "{:<40} error {error:.4}, {:.3} bits",
            layer.name, layer.bits_per_weight
        );
    }
    Ok(())
}
