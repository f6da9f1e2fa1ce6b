//! Norms and biases that blocks were trained with, as bits, on their way to the files of finished layers and back.

use crate::backend::{Device, block_on};
use crate::error::{Error, Result};
use crate::train::step::{Kind, Parameter, Part, Trainer};

/// Norms and biases by their names.
pub(super) type Norms = Vec<(String, Vec<u32>)>;

/// The norms and biases of a trainer whose names begin so, as bits.
pub(super) fn read(device: &Device, trainer: &Trainer<&Device>, begin: &str) -> Result<Norms> {
    let mut all = Vec::new();
    for (i, p) in trainer.parameters().iter().enumerate() {
        if !matches!(p.kind, Kind::Norm | Kind::Bias) || !p.name.starts_with(begin) {
            continue;
        }
        let values = block_on(device, trainer.read(Part::Master, i))?;
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::usage(
                format!("`{}` is not finite after training", p.name),
                "lower the learning rate",
            ));
        }
        all.push((p.name.clone(), bytemuck::cast_vec(values)));
    }
    Ok(all)
}

/// Gives a trainer norms.
pub(super) fn write(trainer: &mut Trainer<&Device>, norms: &[(String, Vec<u32>)]) -> Result<()> {
    for (name, bits) in norms {
        let of = |p: &Parameter| p.name == *name;
        if let Some(i) = trainer.parameters().iter().position(of) {
            trainer.write(Part::Master, i, bytemuck::cast_slice(bits))?;
        }
    }
    Ok(())
}
