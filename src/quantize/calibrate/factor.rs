//! The Hessian of a stack's inputs, in the order in which columns are quantized, and its Cholesky factor.

use super::moments::Moments;
use super::ops::{Area, gather, gather_symmetric, product};
use crate::backend::{Backend, upload_new};
use crate::error::{Error, Result};
use crate::ops::calibrate::{BLOCK, CholeskyBlock};
use crate::ops::memory::PADDING;
use crate::ops::train::{GradNorm, MatrixView};

/// H and L with `H = L L^T`, shared by the layers that read the same inputs.
pub(super) struct Factor<B: Backend> {
    /// Real columns, padded to an even number.
    pub columns: usize,
    /// The damped Hessian in the order of the weight's columns, [columns, columns].
    pub hessian: B::Buffer,
    /// L in the order of quantization, [columns, columns]; zero above the diagonal.
    pub lower: B::Buffer,
    /// Inverses of the blocks on its diagonal, [blocks, 32, 32].
    inverses: B::Buffer,
    /// Complex columns in the order of L: the last one is quantized first.
    pub order: B::Buffer,
    /// Real columns of the weight by those of L, and the other way around.
    pub to_weight: B::Buffer,
    pub from_weight: B::Buffer,
    /// The weight's own columns, [`PADDING`] for the one that makes an odd number even.
    pub padded: B::Buffer,
    /// The indices 0, 1, 2, ... of rows or columns, whichever are more.
    pub iota: B::Buffer,
}

/// Blocks on the diagonal: first column and size, in order.
pub(super) fn blocks(
    columns: usize,
) -> impl ExactSizeIterator<Item = (usize, usize)> + DoubleEndedIterator {
    (0..columns.div_ceil(BLOCK)).map(move |i| (BLOCK * i, BLOCK.min(columns - BLOCK * i)))
}

/// Indices of `n` rows or columns, and [`PADDING`] behind them where that makes their number even.
pub(super) fn padded(n: usize) -> Vec<u32> {
    let padding = (!n.is_multiple_of(2)).then_some(PADDING);
    (0..n as u32).chain(padding).collect()
}

/// Complex columns in the order of their weight in the Hessian, the lightest first, and of equal ones the last first.
fn order_of(diagonal: &[f32]) -> Vec<u32> {
    let half = diagonal.len().div_ceil(2);
    let weight = |j: usize| {
        let other = diagonal.get(j + half).copied().unwrap_or(0.0);
        f64::from(diagonal[j]) + f64::from(other)
    };
    let mut order: Vec<u32> = (0..half as u32).rev().collect();
    order.sort_by(|&a, &b| weight(a as usize).total_cmp(&weight(b as usize)));
    order
}

impl<B: Backend> Factor<B> {
    /// Damps, orders and factors the Hessian of `moments`; `most_rows` is the number of rows (padded) of the largest of
    /// the layers. `damping` counts in means of its diagonal.
    pub(super) async fn new(
        backend: &B,
        moments: &Moments<B>,
        damping: f64,
        most_rows: usize,
    ) -> Result<Self> {
        let in_features = moments.columns;
        let columns = in_features.next_multiple_of(2);
        let indices: Vec<u32> = (0..columns.max(most_rows) as u32).collect();
        let iota = upload_new(backend, "indices", &indices)?;
        let diagonal = moments.diagonal(backend, &iota).await?;
        let mean = diagonal.iter().map(|&d| f64::from(d)).sum::<f64>() / in_features as f64;
        // Inputs that are all zero are as good as any: their Hessian becomes the identity.
        let damp = if mean > 0.0 { damping * mean } else { 1.0 };
        let order = order_of(&diagonal);
        let padded = upload_new(backend, "columns", &padded(in_features))?;
        let hessian = backend.alloc("Hessian", columns * columns)?;
        let from = (&moments.hessian, in_features);
        let to = (&hessian, columns);
        gather_symmetric(backend, from, &padded, to, damp as f32).await?;
        let half = (columns / 2) as u32;
        let to_weight: Vec<u32> = order.iter().flat_map(|&j| [j, j + half]).collect();
        let mut from_weight = vec![0; columns];
        for (i, &j) in to_weight.iter().enumerate() {
            from_weight[j as usize] = i as u32;
        }
        let factor = Self {
            columns,
            lower: backend.alloc("factor", columns * columns)?,
            inverses: backend.alloc("inverses", columns.div_ceil(BLOCK) * BLOCK * BLOCK)?,
            order: upload_new(backend, "order", &order)?,
            to_weight: upload_new(backend, "columns", &to_weight)?,
            from_weight: upload_new(backend, "columns", &from_weight)?,
            padded,
            hessian,
            iota,
        };
        factor.make(backend).await?;
        Ok(factor)
    }

    /// Where the inverse of block `i` lies.
    fn inverse(i: usize) -> MatrixView {
        MatrixView {
            offset: i * BLOCK * BLOCK,
            ..MatrixView::rows(BLOCK)
        }
    }

    /// The block of the factor that begins at (row, column).
    fn block_at(&self, row: usize, column: usize) -> MatrixView {
        MatrixView {
            offset: row * self.columns + column,
            ..MatrixView::rows(self.columns)
        }
    }

    /// L from H, block by block: the block on the diagonal is factored, the panel below it follows from its inverse, and
    /// what both explain leaves the rest of the matrix.
    async fn make(&self, backend: &B) -> Result<()> {
        let n = self.columns;
        let square = Area::rows(n, n);
        let by = &self.to_weight;
        let from = (&self.hessian, n * n, n);
        gather(backend, from, (by, 0), (by, 0), (&self.lower, square), 0.0).await?;
        let panel = || backend.alloc("panel", n * BLOCK);
        let panels = [panel()?, panel()?];
        let nothing = upload_new(backend, "padding", &vec![PADDING; n])?;
        for (i, (first, size)) in blocks(n).enumerate() {
            let op = CholeskyBlock {
                n: size,
                first: first * n + first,
                stride: n,
                inverse_first: i * BLOCK * BLOCK,
            };
            backend.run(&op, &[&self.lower, &self.inverses]).await?;
            let below = n - first - size;
            if below == 0 {
                continue;
            }
            self.explain(backend, i, (first, size), &panels).await?;
            // To the right of the block the factor is zero.
            let above = Area {
                rows: size,
                columns: below,
                first: first * n + first + size,
                stride: n,
            };
            let (from, none) = ((&panels[0], 1, 1), (&nothing, 0));
            gather(backend, from, none, none, (&self.lower, above), 0.0).await?;
        }
        self.check(backend).await
    }

    /// The panel below block `i`, and what is left of the matrix to its right; `panels` are scratch.
    async fn explain(
        &self,
        backend: &B,
        i: usize,
        (first, size): (usize, usize),
        [before, after]: &[B::Buffer; 2],
    ) -> Result<()> {
        let n = self.columns;
        let rest = first + size;
        let below = n - rest;
        let panel = Area::rows(below, size);
        let from = (&self.lower, n * n, n);
        let (rows, columns) = ((&self.iota, rest), (&self.iota, first));
        gather(backend, from, rows, columns, (before, panel), 0.0).await?;
        let rows = MatrixView::rows(size);
        let op = product([below, size, size], rows, Self::inverse(i), rows);
        backend.run(&op, &[before, &self.inverses, after]).await?;
        let (from, iota) = ((after, below * size, size), (&self.iota, 0));
        let to = Area {
            first: rest * n + first,
            stride: n,
            ..panel
        };
        gather(backend, from, iota, iota, (&self.lower, to), 0.0).await?;
        let op = product([below, below, size], rows, rows, self.block_at(rest, rest));
        let op = op.adding().times(-1.0);
        backend.run(&op, &[after, after, &self.lower]).await
    }

    /// Refuses a factor that is not finite.
    async fn check(&self, backend: &B) -> Result<()> {
        let (_, largest) = norms(backend, &self.lower, self.columns * self.columns).await?;
        match largest.is_finite() {
            true => Ok(()),
            false => Err(Error::usage(
                "the Hessian of a layer's inputs has no factor: activations overflow",
                "calibrate with another text, or on the CPU",
            )),
        }
    }

    /// `x = b H^-1` for `rows` rows of b, all in the order of L; `y` is scratch of the same size, b is overwritten.
    pub(super) async fn solve(
        &self,
        backend: &B,
        rows: usize,
        b: &B::Buffer,
        y: &B::Buffer,
    ) -> Result<()> {
        let n = self.columns;
        let rest = backend.alloc("right-hand side", rows * BLOCK)?;
        let wide = |first| MatrixView {
            offset: first,
            ..MatrixView::rows(n)
        };
        // y L^T = b
        for (i, (first, size)) in blocks(n).enumerate() {
            let (from, to) = ((b, rows * n, n), (&rest, Area::rows(rows, size)));
            gather(backend, from, (&self.iota, 0), (&self.iota, first), to, 0.0).await?;
            let narrow = MatrixView::rows(size);
            if first > 0 {
                let op = product(
                    [rows, size, first],
                    wide(0),
                    self.block_at(first, 0),
                    narrow,
                );
                let buffers = [y, &self.lower, &rest];
                backend.run(&op.adding().times(-1.0), &buffers).await?;
            }
            let op = product([rows, size, size], narrow, Self::inverse(i), wide(first));
            backend.run(&op, &[&rest, &self.inverses, y]).await?;
        }
        // x L = y
        for (i, (first, size)) in blocks(n).enumerate().rev() {
            let (from, to) = ((y, rows * n, n), (&rest, Area::rows(rows, size)));
            gather(backend, from, (&self.iota, 0), (&self.iota, first), to, 0.0).await?;
            let narrow = MatrixView::rows(size);
            self.behind(backend, rows, (first, size), b, (&rest, narrow, true))
                .await?;
            let inverse = Self::inverse(i).transposed();
            let op = product([rows, size, size], narrow, inverse, wide(first));
            backend.run(&op, &[&rest, &self.inverses, b]).await?;
        }
        Ok(())
    }

    /// `sum_(i > c) e_i * L_ic` for the columns c of a block and the columns i behind it: written to `dst`, or subtracted there.
    /// Nothing is written where no columns are behind.
    pub(super) async fn behind(
        &self,
        backend: &B,
        rows: usize,
        (first, size): (usize, usize),
        e: &B::Buffer,
        (dst, dst_layout, subtract): (&B::Buffer, MatrixView, bool),
    ) -> Result<()> {
        let rest = first + size;
        let depth = self.columns - rest;
        if depth == 0 {
            return Ok(());
        }
        let e_layout = MatrixView {
            offset: rest,
            ..MatrixView::rows(self.columns)
        };
        let l = self.block_at(rest, first).transposed();
        let op = product([rows, size, depth], e_layout, l, dst_layout);
        let op = match subtract {
            true => op.adding().times(-1.0),
            false => op,
        };
        backend.run(&op, &[e, &self.lower, dst]).await
    }

    /// `tr(E H E^T)` for E [rows, columns] in the order of L; `scratch` has its size.
    pub(super) async fn error(
        &self,
        backend: &B,
        rows: usize,
        e: &B::Buffer,
        scratch: &B::Buffer,
    ) -> Result<f64> {
        let n = self.columns;
        let all = MatrixView::rows(n);
        let op = product([rows, n, n], all, all.transposed(), all);
        backend.run(&op, &[e, &self.lower, scratch]).await?;
        Ok(norms(backend, scratch, rows * n).await?.0)
    }
}

/// The sum of squares of `n` values, and their largest magnitude.
pub(super) async fn norms<B: Backend>(backend: &B, x: &B::Buffer, n: usize) -> Result<(f64, f32)> {
    let op = GradNorm { n, offset: 0 };
    let shares = op.partials();
    let squares = backend.alloc("squares", shares)?;
    let largest = backend.alloc("largest", shares)?;
    backend.run(&op, &[x, &squares, &largest]).await?;
    let sums = backend.download(&squares, 0, shares);
    let maxima = backend.download(&largest, 0, shares);
    let sum = sums
        .await?
        .into_iter()
        .map(|w| f64::from(f32::from_bits(w)));
    let sum = sum.sum();
    let top = maxima.await?.into_iter().max().unwrap_or(0);
    Ok((sum, f32::from_bits(top)))
}
