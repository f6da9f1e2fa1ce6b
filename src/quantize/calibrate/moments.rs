//! Second moments of what enters a stack of layers.

use super::ops::{Area, gather, product};
use crate::backend::{Backend, kernel_for, upload_new};
use crate::error::{Error, Result};
use crate::ops::calibrate::Axpy;
use crate::ops::memory::CastF16;
use crate::ops::train::{Lerp, MatmulTrain, MatmulTrainCoop, MatrixView};

/// Sums over tokens of inputs: `x_q` where everything before is quantized, `x_f` in the full-precision model. Nothing that
/// follows from them depends on how many tokens there were.
pub(super) struct Moments<B: Backend> {
    /// Inputs.
    pub columns: usize,
    /// `x_q^T * x_q`, [columns, columns]; only the lower triangle is there.
    pub hessian: B::Buffer,
    /// `(x_f - x_q)^T * x_q`, [columns, columns].
    pub drift: B::Buffer,
    /// `(r_f - r_q)^T * x_q` of the residual stream that the layer adds to, and the stream's width.
    pub residual: Option<(B::Buffer, usize)>,
}

/// Rows of tokens: full-precision and quantized ones.
pub(super) type Both<'a, T> = (&'a T, &'a T);

/// Scratch for the factors of sums over tokens.
pub(super) struct Scratch<B: Backend> {
    difference: B::Buffer,
    /// Both factors in f16, where the device multiplies matrices of those.
    halves: Option<[B::Buffer; 2]>,
}

impl<B: Backend> Scratch<B> {
    /// Room for factors of `values` values.
    pub(super) fn new(backend: &B, values: usize) -> Result<Self> {
        let half = || backend.alloc("factor in f16", values.div_ceil(2));
        let halves = kernel_for::<MatmulTrainCoop>(backend.facts().features);
        Ok(Self {
            difference: backend.alloc("difference of inputs", values)?,
            halves: halves.map(|_| Ok([half()?, half()?])).transpose()?,
        })
    }

    /// Rows of `columns` values as products take them: in f16 in place `which` of the scratch, or as they are.
    async fn ready<'b>(
        &'b self,
        backend: &B,
        (rows, columns): (usize, usize),
        (x, which): (&'b B::Buffer, usize),
        half: bool,
    ) -> Result<&'b B::Buffer> {
        let (Some(halves), true) = (&self.halves, half) else {
            return Ok(x);
        };
        let cast_f16 = CastF16 {
            rows,
            columns,
            stride: columns,
            offset: 0,
        };
        backend.run(&cast_f16, &[x, &halves[which]]).await?;
        Ok(&halves[which])
    }
}

impl<B: Backend> Moments<B> {
    /// Nothing yet, of a stack with `columns` inputs that adds to a stream of that width, if it adds to one.
    pub(super) fn new(backend: &B, columns: usize, stream: Option<usize>) -> Result<Self> {
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

    /// Adds the moments of `rows` tokens.
    pub(super) async fn add(
        &self,
        backend: &B,
        rows: usize,
        (full, quantized): Both<'_, B::Buffer>,
        streams: Both<'_, B::Buffer>,
        scratch: &Scratch<B>,
    ) -> Result<()> {
        let n = self.columns;
        let at = MatrixView::rows(n);
        let sum = |width: usize| {
            let op = product(
                [width, n, rows],
                MatrixView::rows(width).transposed(),
                at.transposed(),
                at,
            );
            op.adding()
        };
        let lower = MatmulTrain {
            lower: true,
            ..sum(n)
        };
        let width = self.residual.as_ref().map_or(n, |r| r.1);
        let fits = [sum(n), sum(width)].iter().all(MatmulTrainCoop::fits);
        let half = fits && scratch.halves.is_some();
        let right = (quantized, 1);
        let right = scratch.ready(backend, (rows, n), right, half).await?;
        run(backend, lower, [right, right, &self.hessian], half).await?;
        let left = (&scratch.difference, 0);
        subtract(backend, rows * n, (full, quantized), left.0).await?;
        let differences = scratch.ready(backend, (rows, n), left, half).await?;
        run(backend, sum(n), [differences, right, &self.drift], half).await?;
        if let Some((sums, width)) = &self.residual {
            subtract(backend, rows * width, streams, left.0).await?;
            let differences = scratch.ready(backend, (rows, *width), left, half).await?;
            run(backend, sum(*width), [differences, right, sums], half).await?;
        }
        Ok(())
    }

    /// The diagonal of the Hessian.
    pub(super) async fn diagonal(&self, backend: &B, iota: &B::Buffer) -> Result<Vec<f32>> {
        let n = self.columns;
        let diagonal = backend.alloc("diagonal", n)?;
        let zero = upload_new(backend, "zero", &[0])?;
        // In rows that are one value longer, element i of the diagonal is the first of row i.
        let from = (&self.hessian, n * n, n + 1);
        let to = (&diagonal, Area::rows(n, 1));
        gather(backend, from, (iota, 0), (&zero, 0), to, 0.0).await?;
        let words = backend.download(&diagonal, 0, n).await?;
        Ok(words.into_iter().map(f32::from_bits).collect())
    }
}

/// A product of factors in f16 (`half`) or in f32.
async fn run<B: Backend>(
    backend: &B,
    product: MatmulTrain,
    buffers: [&B::Buffer; 3],
    half: bool,
) -> Result<()> {
    if !half {
        return backend.run(&product, &buffers).await;
    }
    let op = MatmulTrainCoop {
        product,
        a_half: true,
        b_half: true,
    };
    backend.run(&op, &buffers).await
}

/// Copies `n` values.
pub(super) async fn copy<B: Backend>(
    backend: &B,
    n: usize,
    src: &B::Buffer,
    dst: &B::Buffer,
) -> Result<()> {
    // With a share of 0 the bits are those of `src`, as long as what was in `dst` is finite: this crate has written it.
    backend.run(&Lerp { n, share: 0.0 }, &[src, dst]).await
}

/// `dst = a - b`.
pub(super) async fn subtract<B: Backend>(
    backend: &B,
    n: usize,
    (a, b): Both<'_, B::Buffer>,
    dst: &B::Buffer,
) -> Result<()> {
    copy(backend, n, a, dst).await?;
    let less = Axpy { n, factor: -1.0 };
    backend.run(&less, &[b, dst]).await
}
