//! Steps of a block by itself: it learns to make of residual streams what it is shown.

use super::Trainer;
use super::scope::Scope;
use super::scratch::Shape;
use super::trainer::StepReport;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::ops::calibrate::Axpy;
use crate::ops::memory::{Fill, Gather};
use crate::ops::train::GradNorm;
use crate::ranks::One;

impl<B: Backend> Trainer<B> {
    /// One step of AdamW of a block by itself ([`Scope::Block`]), on pairs of an input and the output that it should have,
    /// [length, hidden] f32 each. The loss is the mean square of the difference over `variance`. As [`Trainer::step`],
    /// it changes nothing where the loss or the gradient is not finite.
    ///
    /// # Errors
    /// [`Error::Usage`] for another scope, no pairs, longer texts than announced, or a variance that is not positive;
    /// [`Error::Device`] from the device.
    pub async fn step_towards(
        &mut self,
        pairs: &[[&B::Buffer; 2]],
        length: usize,
        variance: f64,
        lr: f64,
    ) -> Result<StepReport> {
        self.check_block(length)?;
        if pairs.is_empty() || !(variance > 0.0 && variance.is_finite()) {
            return Err(Error::usage(
                format!("{} texts of variance {variance}", pairs.len()),
                "give one at least, of a variance above 0",
            ));
        }
        self.refresh().await?;
        self.clear().await?;
        let tokens = pairs.len() * length;
        let all = (tokens * self.config.hidden) as f64 * variance;
        let factor = 2.0 * self.progress.scale() / all;
        let mut squares = 0.0;
        for pairs in pairs.chunks(self.options.n_seqs) {
            let shape = Shape {
                n_seqs: pairs.len(),
                length,
            };
            let [inputs, wanted] = [0, 1].map(|i| pairs.iter().map(|pair| pair[i]).collect());
            let inputs: Vec<_> = inputs;
            self.take(&inputs, length, &self.scratch.inputs[0]).await?;
            self.block(0, shape).await?;
            squares += self.difference(wanted, shape, factor).await?;
            self.block_backward(0, shape, false).await?;
        }
        self.quantizer
            .scale_gradients(&self.backend, &self.list, &self.tensors)
            .await?;
        self.finish(&One, squares / all, tokens, (lr, 0.0)).await
    }

    /// Runs a block by itself ([`Scope::Block`]) over residual streams [length, hidden] f32, in their place: quantized, or
    /// with the masters as they are (`full`).
    ///
    /// # Errors
    /// As [`Trainer::step_towards`].
    pub async fn advance(
        &mut self,
        streams: &[&B::Buffer],
        length: usize,
        full: bool,
    ) -> Result<()> {
        self.check_block(length)?;
        match full {
            true => self.quantizer.set_share(0.0),
            false => self.refresh().await?,
        }
        for streams in streams.chunks(self.options.n_seqs) {
            let shape = Shape {
                n_seqs: streams.len(),
                length,
            };
            self.take(streams, length, &self.scratch.inputs[0]).await?;
            self.block(0, shape).await?;
            for (i, stream) in streams.iter().enumerate() {
                let from = &self.scratch.inputs[1];
                self.copy_sequence((from, i), (stream, 0), length).await?;
            }
            self.backend.flush()?;
        }
        self.quantizer.set_share(1.0);
        Ok(())
    }

    fn check_block(&self, length: usize) -> Result<()> {
        match self.options.scope {
            Scope::Block(_) if (1..=self.options.length).contains(&length) => Ok(()),
            scope => Err(Error::usage(
                format!(
                    "residual streams of {length} tokens for a trainer of {scope:?} that expects at most {}",
                    self.options.length
                ),
                "train a block by itself, on texts as long as announced",
            )),
        }
    }

    /// Copies streams of sequences, one after the other, to `dst`.
    pub(super) async fn take(
        &self,
        streams: &[&B::Buffer],
        length: usize,
        dst: &B::Buffer,
    ) -> Result<()> {
        for (i, stream) in streams.iter().enumerate() {
            self.copy_sequence((stream, 0), (dst, i), length).await?;
        }
        Ok(())
    }

    /// Copies sequence `first` of a buffer to where sequence `index` of another lies.
    async fn copy_sequence(
        &self,
        (src, first): (&B::Buffer, usize),
        (dst, index): (&B::Buffer, usize),
        length: usize,
    ) -> Result<()> {
        let (hidden, rows) = (self.config.hidden, &self.scratch.counting);
        let op = Gather {
            n_rows: length,
            n_columns: hidden,
            rows_offset: first * length,
            columns_offset: 0,
            x_stride: hidden,
            x_len: (first + 1) * length * hidden,
            y_offset: index * length * hidden,
            y_stride: hidden,
            diagonal: 0.0,
            symmetric: false,
        };
        self.backend.run(&op, &[src, rows, rows, dst]).await
    }

    /// The sum of squares of the difference between a block's output and `wanted`; `factor` times the difference becomes the
    /// gradient of the output.
    async fn difference(&self, wanted: Vec<&B::Buffer>, shape: Shape, factor: f64) -> Result<f64> {
        let (s, n) = (&self.scratch, shape.n_tokens() * self.config.hidden);
        self.backend.scope(&|| "loss".to_owned());
        let missing = &s.d_normed;
        self.take(&wanted, shape.length, missing).await?;
        let less = Axpy { n, factor: -1.0 };
        self.backend.run(&less, &[&s.inputs[1], missing]).await?;
        let norm = GradNorm { n, offset: 0 };
        let buffers = [missing, &s.squares, &s.largest];
        self.backend.run(&norm, &buffers).await?;
        let none = Fill { words: n, value: 0 };
        self.backend.run(&none, &[&s.d_stream]).await?;
        let less = Axpy {
            n,
            factor: -factor as f32,
        };
        self.backend.run(&less, &[missing, &s.d_stream]).await?;
        let squares = self
            .backend
            .download(&s.squares, 0, norm.partials())
            .await?;
        Ok(squares
            .into_iter()
            .map(|w| f64::from(f32::from_bits(w)))
            .sum())
    }
}
