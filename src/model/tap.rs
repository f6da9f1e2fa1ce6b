//! Looking at what enters each stack of linear layers while a model runs: for analysis and calibration.

use super::blueprint::StackIndex;
use super::linear::{Input, Linear, Run, tile_rows};
use super::loaded::Model;
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::norm::{Rms, RmsNorm};
use crate::ops::quantize::{Activations, FakeQuant};

/// Something that looks at a forward pass.
#[allow(async_fn_in_trait)] // callers are generic; nothing here needs Send futures
pub trait Tap<B: Backend> {
    /// Called before each stack of linear layers is applied, when its input is ready.
    async fn before(&mut self, at: Tapped<'_, B>) -> Result<()>;
}

/// Nobody looks: what every ordinary pass is given.
pub struct NoTap;

impl<B: Backend> Tap<B> for NoTap {
    #[inline]
    async fn before(&mut self, _at: Tapped<'_, B>) -> Result<()> {
        Ok(())
    }
}

/// A stack of linear layers that is about to run.
pub struct Tapped<'a, B: Backend> {
    /// The model that runs.
    pub model: &'a Model<B>,
    /// Which of its stacks.
    pub stack: StackIndex,
    /// Tokens.
    pub rows: usize,
    /// The input, [rows, columns] f32, before the norm.
    pub x: &'a B::Buffer,
    /// The norm that stands before the stack, if one does: its weights, and what it divides by.
    pub norm: Option<(&'a B::Buffer, Rms)>,
}

impl<B: Backend> Tapped<'_, B> {
    /// Real inputs of the stack.
    pub fn columns(&self) -> usize {
        self.stack_of(self.model).in_features()
    }

    /// Real outputs of each layer of the stack; those of a token follow each other.
    pub fn segments(&self) -> &[usize] {
        self.stack_of(self.model).segments()
    }

    /// What the layers read, after the norm and before any rounding: [rows, columns].
    ///
    /// # Errors
    /// Failures of the device.
    pub async fn input(&self) -> Result<Vec<f32>> {
        match self.normalized().await? {
            Some(buffer) => self.download(&buffer, self.columns()).await,
            None => self.download(self.x, self.columns()).await,
        }
    }

    /// [`Tapped::input`] rounded as `mode` rounds the activations of each token.
    ///
    /// # Errors
    /// Failures of the device.
    pub async fn rounded(&self, mode: Activations) -> Result<Vec<f32>> {
        let backend = &self.model.backend;
        let normalized = self.normalized().await?;
        let x = normalized.as_ref().unwrap_or(self.x);
        let (rows, columns) = (self.rows, self.columns());
        let rounded = backend.alloc("rounded input", rows * columns)?;
        let fake_quant = FakeQuant {
            tokens: rows,
            columns,
            mode,
        };
        backend.run(&fake_quant, &[x, &rounded]).await?;
        self.download(&rounded, columns).await
    }

    /// What the same stack of `other`, a model of the same shape on the same device, makes of this input, in the way
    /// `other` was loaded: [rows, outputs].
    ///
    /// # Errors
    /// Failures of the device.
    pub async fn outputs_of(&self, other: &Model<B>) -> Result<Vec<f32>> {
        let stack = self.stack_of(other);
        let (backend, options) = (&other.backend, &other.options);
        let rows = tile_rows(backend, self.rows, options.exact);
        let y = backend.alloc("tapped outputs", rows * stack.outputs())?;
        let input = Input {
            x: self.x,
            norm: self.norm,
            n_absmax_partials: 0,
        };
        let run = Run {
            tokens: self.rows,
            accumulate: false,
            activations: options.activations,
            exact: options.exact,
            tuning: backend.facts().tuning,
        };
        let scratch = &other.scratch.linear;
        stack.apply(backend, scratch, input, &y, run).await?;
        self.download(&y, stack.outputs()).await
    }

    fn stack_of<'m>(&self, model: &'m Model<B>) -> &'m Linear<B> {
        match self.stack {
            StackIndex::Block { block, stack } => &model.weights.blocks[block].stacks[stack],
            StackIndex::Head => &model.weights.head,
        }
    }

    /// The input after the norm, where there is one.
    async fn normalized(&self) -> Result<Option<B::Buffer>> {
        let Some((weight, rms)) = self.norm else {
            return Ok(None);
        };
        let backend = &self.model.backend;
        let (rows, n) = (self.rows, self.columns());
        let normalized = backend.alloc("normalized input", rows * n)?;
        let norm = RmsNorm {
            tokens: rows,
            n,
            rms,
            accumulate: false,
        };
        backend.run(&norm, &[self.x, weight, &normalized]).await?;
        Ok(Some(normalized))
    }

    async fn download(&self, buffer: &B::Buffer, columns: usize) -> Result<Vec<f32>> {
        let backend = &self.model.backend;
        let words = backend.download(buffer, 0, self.rows * columns).await?;
        Ok(words.into_iter().map(f32::from_bits).collect())
    }
}
