//! Masters as quantizing takes them: in f32, and turned like the inputs of their layers.

use super::Quantizer;
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::quantize::Hadamard;
use crate::ops::train::bf16::Bf16Unpack;
use crate::train::step::formats::Format;
use crate::train::step::parameters::{Held, Parameter};

impl<B: Backend> Quantizer<B> {
    /// The master in f32; unpacked, it stays until the next one is.
    pub(super) async fn master<'a>(
        &'a self,
        backend: &B,
        parameter: &Parameter,
        held: &'a Held<B>,
    ) -> Result<&'a B::Buffer> {
        match &self.unpacked {
            Some(unpacked) if held.formats.value != Format::F32 => {
                let (n, first) = (parameter.len(), 0);
                let unpack = Bf16Unpack { n, first };
                backend.run(&unpack, &[&held.value, unpacked]).await?;
                Ok(unpacked)
            }
            _ => Ok(&held.value),
        }
    }

    /// A weight, or its gradient, as the layer of the parameter has it: turned like its inputs, if those are. The next one
    /// overwrites it.
    pub(super) async fn turned<'a>(
        &'a self,
        backend: &B,
        parameter: &Parameter,
        values: &'a B::Buffer,
    ) -> Result<&'a B::Buffer> {
        let Some(turned) = &self.turned else {
            return Ok(values);
        };
        let turn = turning(parameter, false);
        backend.run(&turn, &[values, turned]).await?;
        Ok(turned)
    }

    /// The master of a layer in f32, turned like the layer's inputs.
    pub(super) async fn turned_master<'a>(
        &'a self,
        backend: &B,
        parameter: &Parameter,
        held: &'a Held<B>,
    ) -> Result<&'a B::Buffer> {
        let master = self.master(backend, parameter, held).await?;
        self.turned(backend, parameter, master).await
    }
}

/// The op that turns the rows of a parameter, or turns them `back`.
pub(super) fn turning(parameter: &Parameter, back: bool) -> Hadamard {
    Hadamard {
        rows: parameter.rows,
        width: parameter.columns,
        back,
    }
}
