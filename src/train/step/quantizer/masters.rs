//! Masters as quantizing takes them: in f32, and rotated like the inputs of their layers.

use super::Quantizer;
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::quantize::Hadamard;
use crate::ops::train::Bf16Unpack;
use crate::train::step::formats::Format;
use crate::train::step::parameters::Parameter;
use crate::train::step::tensors::Tensors;

impl<B: Backend> Quantizer<B> {
    /// The master in f32. Where it has to be unpacked, the next one overwrites it.
    pub(super) async fn master<'a>(
        &'a self,
        backend: &B,
        parameter: &Parameter,
        tensors: &'a Tensors<B>,
    ) -> Result<&'a B::Buffer> {
        match &self.unpacked {
            Some(unpacked) if tensors.formats.value != Format::F32 => {
                let (n, first) = (parameter.len(), 0);
                let unpack = Bf16Unpack { n, offset: first };
                backend.run(&unpack, &[&tensors.value, unpacked]).await?;
                Ok(unpacked)
            }
            _ => Ok(&tensors.value),
        }
    }

    /// A weight, or its gradient, as the layer of the parameter has it: rotated like its inputs, if those are. The next one
    /// overwrites it.
    pub(super) async fn rotated<'a>(
        &'a self,
        backend: &B,
        parameter: &Parameter,
        values: &'a B::Buffer,
    ) -> Result<&'a B::Buffer> {
        let Some(rotated) = &self.rotated else {
            return Ok(values);
        };
        let rotation = rotation(parameter, false);
        backend.run(&rotation, &[values, rotated]).await?;
        Ok(rotated)
    }

    /// The master of a layer in f32, rotated like the layer's inputs.
    pub(super) async fn rotated_master<'a>(
        &'a self,
        backend: &B,
        parameter: &Parameter,
        tensors: &'a Tensors<B>,
    ) -> Result<&'a B::Buffer> {
        let master = self.master(backend, parameter, tensors).await?;
        self.rotated(backend, parameter, master).await
    }
}

/// The op that rotates the rows of a parameter, or rotates them `back`.
pub(super) fn rotation(parameter: &Parameter, back: bool) -> Hadamard {
    Hadamard {
        rows: parameter.rows,
        width: parameter.columns,
        inverse: back,
    }
}
