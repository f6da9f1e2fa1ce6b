//! Weights as products take them, of one block and of the head: unpacked, as real matrices, in f32 or f16.

use super::Quantizer;
use super::masters::rotation;
use super::shape::{Shape, shape};
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::MatrixDtype;
use crate::ops::memory::CastF16;
use crate::ops::quantize::{BaselineUnpack, ConjugateExpand, PhaseUnpack};
use crate::ops::train::Lerp;
use crate::train::step::formats::Format;
use crate::train::step::parameters::{EMBED, Parameter, final_norm, head, of_block};
use crate::train::step::tensors::Tensors;

impl<B: Backend> Quantizer<B> {
    /// Makes the dense weights of block `l` ready.
    pub(crate) async fn enter(
        &mut self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Tensors<B>],
        l: usize,
    ) -> Result<()> {
        if self.entered == Some(l) {
            return Ok(());
        }
        for (i, dense) in of_block(&self.config, l).zip(&self.block) {
            if let Some(dense) = dense {
                self.unpack(backend, &parameters[i], &masters[i], i, dense)
                    .await?;
            }
        }
        self.entered = Some(l);
        Ok(())
    }

    /// Makes the dense weight of the head ready.
    pub(crate) async fn enter_head(
        &mut self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Tensors<B>],
    ) -> Result<()> {
        if let (Some(dense), false) = (&self.head, self.head_entered) {
            let i = head(&self.config);
            self.unpack(backend, &parameters[i], &masters[i], i, dense)
                .await?;
        }
        self.head_entered = true;
        Ok(())
    }

    async fn unpack(
        &self,
        backend: &B,
        parameter: &Parameter,
        tensors: &Tensors<B>,
        index: usize,
        dense: &B::Buffer,
    ) -> Result<()> {
        backend.scope(&|| format!("{}, unpacking", parameter.name));
        let layer = self.layers.iter().find(|l| l.parameter == index);
        let complex = parameter.complex();
        let wide = match &self.staging {
            Some(staging) if self.half || complex.is_some() => staging,
            _ => dense,
        };
        if let Some(layer) = layer {
            let first = layer.first.as_ref().filter(|_| self.first_only);
            let quantized = self.rotated.as_ref().unwrap_or(wide);
            let buffers = [&layer.codes, first.unwrap_or(&layer.scales), quantized];
            match shape(self.recipe, parameter, 0) {
                Shape::Phase(shard) => backend.run(&PhaseUnpack { shard }, &buffers).await?,
                Shape::Baseline(rows) => backend.run(&BaselineUnpack(rows), &buffers).await?,
            }
            if self.rotated.is_some() {
                let rotation = rotation(parameter, true);
                backend.run(&rotation, &[quantized, wide]).await?;
            }
            if self.share < 1.0 {
                let (n, share) = (parameter.len(), self.share as f32);
                let master = self.master(backend, parameter, tensors).await?;
                backend.run(&Lerp { n, share }, &[master, wide]).await?;
            }
        }
        // Only a quantized layer has a master of fewer bits.
        let stored = if layer.is_some() {
            wide
        } else {
            &tensors.value
        };
        if let Some(weight) = complex {
            let dtype = match self.half {
                true => MatrixDtype::F16,
                false => MatrixDtype::F32,
            };
            let expand = ConjugateExpand { weight, dtype };
            return backend.run(&expand, &[stored, dense]).await;
        }
        if !self.half {
            return Ok(());
        }
        let cast_f16 = CastF16 {
            rows: parameter.rows,
            columns: parameter.columns,
            stride: parameter.columns,
            offset: 0,
        };
        backend.run(&cast_f16, &[stored, dense]).await
    }

    /// The weight of a linear layer of the block that was entered last, or of the head, and whether it is in f16. It is the
    /// dense weight that was made, or the master itself.
    pub(crate) fn weight<'a>(
        &'a self,
        masters: &'a [Tensors<B>],
        parameter: usize,
    ) -> (&'a B::Buffer, bool) {
        let dense = if parameter == EMBED || parameter >= final_norm(&self.config) {
            self.head.as_ref()
        } else {
            let first = of_block(&self.config, 0).start;
            self.block[(parameter - first) % self.block.len()].as_ref()
        };
        let tensors = &masters[parameter];
        let ready = (&tensors.value, tensors.formats.value == Format::F16);
        dense.map_or(ready, |dense| (dense, self.half))
    }
}
