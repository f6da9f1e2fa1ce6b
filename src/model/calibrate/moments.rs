//! Second moments of what enters a stack of layers.

use super::ops::{Area, gather, product};
use crate::backend::{Backend, upload_new};
use crate::error::{Error, Result};
use crate::ops::calibrate::Axpy;
use crate::ops::train::blend::Blend;
use crate::ops::train::matmul::{Causal, MatmulTrain, Place};

/// Means over tokens, of inputs `x_q` with everything before quantized and `x_f` of the full-precision model.
pub(super) struct Moments<B: Backend> {
    /// Inputs.
    pub columns: usize,
    /// `x_q^T x_q`, [columns, columns], of which the lower triangle is there.
    pub hessian: B::Buffer,
    /// `(x_f - x_q)^T x_q`, [columns, columns].
    pub drift: B::Buffer,
    /// `(r_f - r_q)^T x_q` of the residual stream that the layer adds to, and the stream's width.
    pub residual: Option<(B::Buffer, usize)>,
}

/// Rows of tokens: full-precision and quantized ones.
pub(super) type Both<'a, T> = (&'a T, &'a T);

impl<B: Backend> Moments<B> {
    /// Nothing yet, of a stack with `columns` inputs that adds to a stream of that width, if it adds to one.
    pub fn new(backend: &B, columns: usize, stream: Option<usize>) -> Result<Self> {
        let square = columns.saturating_mul(columns);
        let most = backend.facts().max_words;
        if square > most {
            return Err(Error::device(
                format!(
                    "a Hessian of {columns} x {columns} does not fit a binding of {most} words"
                ),
                "calibrate on another device, or the CPU backend",
            ));
        }
        let residual = stream.map(|width| Ok((backend.alloc("drift", width * columns)?, width)));
        Ok(Self {
            columns,
            hessian: backend.alloc("Hessian", square)?,
            drift: backend.alloc("drift", square)?,
            residual: residual.transpose()?,
        })
    }

    /// Adds the moments of `rows` tokens, each counted `1 / tokens`. `difference` is scratch for the widest of them.
    pub async fn add(
        &self,
        backend: &B,
        (rows, tokens): (usize, usize),
        (full, quantized): Both<'_, B::Buffer>,
        streams: Both<'_, B::Buffer>,
        difference: &B::Buffer,
    ) -> Result<()> {
        let share = 1.0 / tokens as f32;
        let n = self.columns;
        let at = Place::rows(n);
        let op = product([n, n, rows], at.turned(), at.turned(), at);
        let op = op.adding().times(share);
        let lower = MatmulTrain {
            causal: Causal::Result,
            ..op
        };
        let buffers = [quantized, quantized, &self.hessian];
        backend.run(&lower, &buffers).await?;
        subtract(backend, rows * n, (full, quantized), difference).await?;
        let buffers = [difference, quantized, &self.drift];
        backend.run(&op, &buffers).await?;
        if let Some((sums, width)) = &self.residual {
            subtract(backend, rows * width, streams, difference).await?;
            let stream = Place::rows(*width);
            let op = product([*width, n, rows], stream.turned(), at.turned(), at);
            let op = op.adding().times(share);
            backend.run(&op, &[difference, quantized, sums]).await?;
        }
        Ok(())
    }

    /// The diagonal of the Hessian.
    pub async fn diagonal(&self, backend: &B, iota: &B::Buffer) -> Result<Vec<f32>> {
        let n = self.columns;
        let diagonal = backend.alloc("diagonal", n)?;
        let zero = upload_new(backend, "zero", &[0])?;
        // element i of the diagonal begins row i of rows that are one longer
        let from = (&self.hessian, n * n, n + 1);
        let to = (&diagonal, Area::rows(n, 1));
        gather(backend, from, (iota, 0), (&zero, 0), to, 0.0).await?;
        let words = backend.download(&diagonal, 0, n).await?;
        Ok(words.into_iter().map(f32::from_bits).collect())
    }
}

/// Copies `n` values.
pub(super) async fn copy<B: Backend>(
    backend: &B,
    n: usize,
    from: &B::Buffer,
    to: &B::Buffer,
) -> Result<()> {
    // a share of 0 gives what is read to the bit, as long as what was there is finite: it was written by this crate
    backend.run(&Blend { n, share: 0.0 }, &[from, to]).await
}

/// `to = a - b`.
pub(super) async fn subtract<B: Backend>(
    backend: &B,
    n: usize,
    (a, b): Both<'_, B::Buffer>,
    to: &B::Buffer,
) -> Result<()> {
    copy(backend, n, a, to).await?;
    let less = Axpy { n, factor: -1.0 };
    backend.run(&less, &[b, to]).await
}
