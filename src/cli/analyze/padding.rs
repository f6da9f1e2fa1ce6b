//! What odd dimensions cost in time: products of one token on the device, beside those of the next even size.

use crate::backend::{Backend, Device, block_on, upload_new};
use crate::cli::timing::{Samples, measure};
use crate::error::Result;
use crate::evaluate::analysis::Analysis;
use crate::ops::Op;
use crate::ops::memory::Noise;
use crate::ops::phase::{PhaseGemv, PhaseShape, integer_scale_blocks};
use crate::ops::quantize::Activations;
use serde::Serialize;

/// Times of a product of odd size and of its even neighbour.
#[derive(Debug, Serialize)]
pub(super) struct OddProduct {
    /// Outputs and inputs of the layer.
    pub shape: [usize; 2],
    /// The same, rounded up to even numbers.
    pub even_shape: [usize; 2],
    /// Stages of both.
    pub stages: usize,
    /// Layers of this shape.
    pub layers: usize,
    /// Median of one product of one token with 16-bit activations, in microseconds.
    pub microseconds: f64,
    /// The same for the even shape.
    pub even_microseconds: f64,
    /// (largest - smallest) / median of both measurements.
    pub spread: [f64; 2],
}

/// Whether outputs or inputs are odd.
pub(super) fn is_odd(shape: [usize; 2]) -> bool {
    shape.iter().any(|n| n % 2 == 1)
}

/// Measures every odd shape of the model once.
pub(super) fn times(
    device: &Device,
    analysis: &Analysis,
    bar: &dyn Fn(usize) -> indicatif::ProgressBar,
) -> Result<Vec<OddProduct>> {
    let mut shapes: Vec<([usize; 2], usize, usize)> = Vec::new();
    for layer in analysis.layers.iter().filter(|l| is_odd(l.shape)) {
        let stages = layer.padding.stages;
        match shapes
            .iter_mut()
            .find(|s| (s.0, s.1) == (layer.shape, stages))
        {
            Some(known) => known.2 += 1,
            None => shapes.push((layer.shape, stages, 1)),
        }
    }
    let bar = bar(2 * shapes.len());
    let mut all = Vec::new();
    for (shape, stages, layers) in shapes {
        let even_shape = shape.map(|n| n.next_multiple_of(2));
        bar.set_message(format!("{} x {}", shape[0], shape[1]));
        let odd = time(device, shape, stages)?;
        bar.inc(1);
        let even = time(device, even_shape, stages)?;
        bar.inc(1);
        all.push(OddProduct {
            shape,
            even_shape,
            stages,
            layers,
            microseconds: odd.median * 1e6,
            even_microseconds: even.median * 1e6,
            spread: [odd.spread, even.spread],
        });
    }
    bar.finish_and_clear();
    Ok(all)
}

/// Times the product of one token with a made-up weight of this shape.
fn time(device: &Device, [out, inputs]: [usize; 2], stages: usize) -> Result<Samples> {
    let mode = Activations::Int16;
    let product = PhaseGemv {
        shape: PhaseShape::whole(&[out], 1, inputs, stages),
        mode,
    };
    let lengths = product.lengths(); // of codes, rounded activations, their absmax, scales, outputs
    let made = |words: usize, seed: u32| -> Result<_> {
        let buffer = device.alloc("a product of odd size", words)?;
        block_on(device, device.run(&Noise::bits(words, seed), &[&buffer]))?;
        Ok(buffer)
    };
    let (codes, rounded) = (made(lengths[0], 1)?, made(lengths[1], 2)?);
    let ones = vec![1f32.to_bits(); lengths[2]];
    let absmax = upload_new(device, "absmax", &ones)?;
    let cells = integer_scale_blocks(&vec![0.01; 4 * stages], 1, mode);
    let cells = upload_new(device, "scales", &cells)?;
    let y = device.alloc("outputs", lengths[4])?;
    let buffers = [&codes, &rounded, &absmax, &cells, &y];
    measure(device, async || device.run(&product, &buffers).await)
}
