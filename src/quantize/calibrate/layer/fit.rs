//! Scales of a layer whose codes are chosen.

use super::Layer;
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::train::MatrixView;
use crate::quantize::calibrate::ops::product;
use crate::quantize::calibrate::scales;

impl<B: Backend> Layer<'_, B> {
    /// Least-squares scales of the present codes under the Hessian, all scales of a row (or of the tensor) together.
    pub(super) async fn refit(&self) -> Result<()> {
        let planes = 4 * self.shard.stages;
        let groups = self.shard.groups();
        let unknowns = planes * groups;
        let [unit, image] = &self.scratch;
        let fitting = self.fitting();
        self.residual(&self.target).await?;
        self.under_hessian(unit, 0..self.columns / 2, image).await?;
        let mut b = fitting.by_scale_block(fitting.project(image).await?);
        let blocks = b.len() / unknowns;
        let mut a = vec![0.0; blocks * unknowns * unknowns];
        for plane in 0..planes {
            fitting.unit(|p| p == plane, unit).await?;
            for group in 0..groups {
                let first = group * self.shard.group();
                let end = (first + self.shard.group()).min(self.columns / 2);
                self.under_hessian(unit, first..end, image).await?;
                let sums = fitting.by_scale_block(fitting.project(image).await?);
                let row = group * planes + plane;
                for (a, sums) in a
                    .chunks_exact_mut(unknowns * unknowns)
                    .zip(sums.chunks_exact(unknowns))
                {
                    a[row * unknowns..][..unknowns].copy_from_slice(sums);
                }
            }
        }
        let mut scales = fitting.download_scales().await?;
        let blocks = a
            .chunks_exact_mut(unknowns * unknowns)
            .zip(b.chunks_exact_mut(unknowns));
        for (scales, (a, b)) in scales.chunks_exact_mut(unknowns).zip(blocks) {
            scales::refit(scales, a, b);
        }
        fitting.upload_scales(&scales)
    }

    /// `to = x H`, of x only some complex columns; both in the order of the weight.
    async fn under_hessian(
        &self,
        x: &B::Buffer,
        columns: std::ops::Range<usize>,
        to: &B::Buffer,
    ) -> Result<()> {
        let n = self.columns;
        let half = n / 2;
        let at = |first| MatrixView {
            offset: first,
            ..MatrixView::rows(n)
        };
        let buffers = [x, &self.factor.hessian, to];
        if columns.len() == half {
            let op = product([self.rows, n, n], at(0), at(0), at(0));
            return self.backend.run(&op, &buffers).await;
        }
        let size = [self.rows, n, columns.len()];
        let left = product(size, at(columns.start), at(columns.start), at(0));
        self.backend.run(&left, &buffers).await?;
        let first = half + columns.start;
        let right = product(size, at(first), at(first), at(0)).adding();
        self.backend.run(&right, &buffers).await
    }
}
