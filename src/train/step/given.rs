//! Steps on residual streams: a block by itself learns to turn streams into others, a head reads them, and a teacher's
//! last ones are known before the step.

use super::Trainer;
use super::scope::Scope;
use super::scratch::Shape;
use super::trainer::StepReport;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::ops::calibrate::Axpy;
use crate::ops::memory::Fill;
use crate::ops::memory::Gather;
use crate::ops::train::optimizer::GradNorm;

/// Residual streams that are known of the texts of a step, [length, hidden] f32 each, in the order of the texts.
#[derive(Debug)]
pub struct Given<'a, B: Backend> {
    /// What enters a head that is trained by itself; nothing where tokens are embedded.
    pub inputs: &'a [&'a B::Buffer],
    /// What enters the head of the teacher; nothing where the teacher reads the tokens.
    pub teacher: &'a [&'a B::Buffer],
}

impl<B: Backend> Given<'_, B> {
    /// Nothing is known.
    pub const NOTHING: Self = Self {
        inputs: &[],
        teacher: &[],
    };

    /// Refuses what does not fit `texts` texts of a step within `scope`.
    pub(super) fn check(&self, scope: Scope, texts: usize, taught: bool) -> Result<()> {
        let (inputs, teacher) = match scope {
            Scope::Whole => (0, 0),
            Scope::Block(_) => {
                return Err(Error::usage(
                    "a block that reads tokens",
                    "train it towards residual streams",
                ));
            }
            Scope::Head => (texts, if taught { texts } else { 0 }),
            Scope::Scales => (0, if taught { texts } else { 0 }),
        };
        if (self.inputs.len(), self.teacher.len()) != (inputs, teacher) {
            return Err(Error::usage(
                format!(
                    "{} and {} residual streams for {texts} texts where {inputs} and {teacher} are needed",
                    self.inputs.len(),
                    self.teacher.len()
                ),
                "give one for every text",
            ));
        }
        Ok(())
    }

    /// Those of some texts.
    pub(super) fn of(&self, texts: std::ops::Range<usize>) -> Self {
        Self {
            inputs: self.inputs.get(texts.clone()).unwrap_or_default(),
            teacher: self.teacher.get(texts).unwrap_or_default(),
        }
    }
}

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
        for pairs in pairs.chunks(self.options.texts) {
            let shape = Shape {
                texts: pairs.len(),
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
            .scale_gradients(&self.backend, &self.list, &self.held)
            .await?;
        self.finish(squares / all, tokens, lr, 0.0).await
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
        for streams in streams.chunks(self.options.texts) {
            let shape = Shape {
                texts: streams.len(),
                length,
            };
            self.take(streams, length, &self.scratch.inputs[0]).await?;
            self.block(0, shape).await?;
            for (i, stream) in streams.iter().enumerate() {
                let from = &self.scratch.inputs[1];
                self.copy_text((from, i), (stream, 0), length).await?;
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

    /// Streams of texts one after the other, into `to`.
    pub(super) async fn take(
        &self,
        streams: &[&B::Buffer],
        length: usize,
        to: &B::Buffer,
    ) -> Result<()> {
        for (i, stream) in streams.iter().enumerate() {
            self.copy_text((stream, 0), (to, i), length).await?;
        }
        Ok(())
    }

    /// Copies text number so of a buffer to place number so of another.
    async fn copy_text(
        &self,
        (from, first): (&B::Buffer, usize),
        (to, place): (&B::Buffer, usize),
        length: usize,
    ) -> Result<()> {
        let (hidden, rows) = (self.config.hidden, &self.scratch.counting);
        let op = Gather {
            n_rows: length,
            n_columns: hidden,
            rows_first: first * length,
            columns_first: 0,
            x_stride: hidden,
            x_len: (first + 1) * length * hidden,
            y_first: place * length * hidden,
            y_stride: hidden,
            diagonal: 0.0,
            symmetric: false,
        };
        self.backend.run(&op, &[from, rows, rows, to]).await
    }

    /// Sum of the squares of what a block's output is off, and `factor` times that into the gradient of its output.
    async fn difference(&self, wanted: Vec<&B::Buffer>, shape: Shape, factor: f64) -> Result<f64> {
        let (s, n) = (&self.scratch, shape.rows() * self.config.hidden);
        self.backend.scope(&|| "loss".to_owned());
        let missing = &s.d_normed;
        self.take(&wanted, shape.length, missing).await?;
        let less = Axpy { n, factor: -1.0 };
        self.backend.run(&less, &[&s.inputs[1], missing]).await?;
        let norm = GradNorm { n, first: 0 };
        let buffers = [missing, &s.squares, &s.largest];
        self.backend.run(&norm, &buffers).await?;
        let none = Fill { words: n, value: 0 };
        self.backend.run(&none, &[&s.d_stream]).await?;
        let less = Axpy {
            n,
            factor: -factor as f32,
        };
        self.backend.run(&less, &[missing, &s.d_stream]).await?;
        let squares = self.backend.download(&s.squares, 0, norm.shares()).await?;
        Ok(squares
            .into_iter()
            .map(|w| f64::from(f32::from_bits(w)))
            .sum())
    }
}
