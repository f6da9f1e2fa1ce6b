//! A short run: the masters of a full-precision folder learn to be two bits.
//!
//! `fairy2i-gpu data --tokenizer LLAMA --block 128 --out DATA text.txt`, then
//! `cargo run --release --example train -- LLAMA DATA RUN 20`

use fairy2i_gpu::train::{Event, Job, Settings, train};
use fairy2i_gpu::{Device, Error};

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, run, steps] = &args[..] else {
        let hint = "name a model, its data, a folder for the run, and a number of steps";
        return Err(Error::usage("four arguments are needed", hint));
    };
    let settings = Settings {
        model: model.into(),
        data: data.into(),
        steps: steps.parse().unwrap_or(10),
        micro_batch: 2,
        lr: 1e-4,
        ..Settings::default()
    };
    train(
        Job::new(run, settings),
        &Device::auto()?,
        &mut |event| match event {
            Event::Memory(memory) => eprintln!("device memory: {memory}"),
            Event::Step(step) => println!("step {:>4}: loss {:.4}", step.step, step.loss),
            _ => {}
        },
    )?;
    println!("{run}/packed is the model in two bits");
    Ok(())
}
