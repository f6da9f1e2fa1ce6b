//! Scales of a layer whose codes are chosen.

use super::super::ops::product;
use super::super::scales;
use super::Layer;
use crate::backend::{Backend, upload_new};
use crate::error::Result;
use crate::model::Granularity;
use crate::ops::calibrate::PhaseProject;
use crate::ops::quantizer::{PhaseUnpack, Piece};
use crate::ops::train::matmul::Place;

impl<B: Backend> Layer<'_, B> {
    /// Sums of `g` along the codes: [n, groups, 2, stages, 2].
    async fn project(&self, g: &B::Buffer) -> Result<Vec<f64>> {
        let op = PhaseProject { piece: self.piece };
        self.backend.run(&op, &[g, &self.codes, &self.sums]).await?;
        let words = self.backend.download(&self.sums, 0, op.sums()).await?;
        Ok(words
            .into_iter()
            .map(|w| f64::from(f32::from_bits(w)))
            .collect())
    }

    /// The weight of the present codes whose scales are 1 for the `planes` (in the order of scales) and 0 for all others.
    async fn unit(&self, planes: impl Fn(usize) -> bool, to: &B::Buffer) -> Result<()> {
        let piece = Piece {
            granularity: Granularity::Tensor,
            ..self.piece
        };
        let one = |plane| if planes(plane) { 1f32 } else { 0.0 };
        let units: Vec<f32> = (0..piece.scales()).map(one).collect();
        let units = upload_new(self.backend, "units", bytemuck::cast_slice(&units))?;
        let op = PhaseUnpack { piece };
        self.backend.run(&op, &[&self.codes, &units, to]).await
    }

    /// Sums over the rows that share scales: [cells, values of a row].
    fn by_cell(&self, rows: Vec<f64>) -> Vec<f64> {
        if self.piece.by_row() {
            return rows;
        }
        let width = rows.len() / self.piece.rows;
        let mut all = vec![0.0; width];
        for row in rows.chunks_exact(width) {
            for (sum, v) in all.iter_mut().zip(row) {
                *sum += v;
            }
        }
        all
    }

    fn upload_scales(&self, scales: &[f32]) -> Result<()> {
        let words = bytemuck::cast_slice(scales);
        self.backend.upload(&self.scales, 0, words)
    }

    pub(super) async fn download_scales(&self) -> Result<Vec<f32>> {
        let len = self.piece.scales();
        let words = self.backend.download(&self.scales, 0, len).await?;
        Ok(words.into_iter().map(f32::from_bits).collect())
    }

    /// Least-squares scales of the present codes, each axis of U and of W by itself.
    pub(super) async fn fit(&self) -> Result<()> {
        let stages = self.piece.stages;
        let b = self.by_cell(self.project(&self.target).await?);
        let mut a = Vec::with_capacity(stages);
        for stage in 0..stages {
            let unit = &self.scratch[0];
            self.unit(|plane| plane / 2 % stages == stage, unit).await?;
            a.push(self.by_cell(self.project(unit).await?));
        }
        let mut fitted = vec![0.0; b.len()];
        // a part (U or W) of a cell's group: its stages, each with two axes
        for first in (0..b.len()).step_by(2 * stages) {
            for axis in 0..2 {
                let at = |t: usize| first + 2 * t + axis;
                let sums = (0..stages).flat_map(|t| a.iter().map(move |a| (t, a)));
                let sums: Vec<f64> = sums.map(|(t, a)| a[at(t)] / 2.0).collect();
                let b: Vec<f64> = (0..stages).map(|t| b[at(t)] / 2.0).collect();
                for (t, s) in scales::fit(&sums, &b).into_iter().enumerate() {
                    fitted[at(t)] = s;
                }
            }
        }
        self.upload_scales(&fitted)
    }

    /// Least-squares scales of the present codes under the Hessian, all scales of a row (or of the tensor) together.
    pub(super) async fn refit(&self) -> Result<()> {
        let planes = 4 * self.piece.stages;
        let groups = self.piece.groups();
        let unknowns = planes * groups;
        let [unit, image] = &self.scratch;
        self.residual(&self.target).await?;
        self.under_hessian(unit, 0..self.columns / 2, image).await?;
        let mut b = self.by_cell(self.project(image).await?);
        let cells = b.len() / unknowns;
        let mut a = vec![0.0; cells * unknowns * unknowns];
        for plane in 0..planes {
            self.unit(|p| p == plane, unit).await?;
            for group in 0..groups {
                let first = group * self.piece.group();
                let end = (first + self.piece.group()).min(self.columns / 2);
                self.under_hessian(unit, first..end, image).await?;
                let sums = self.by_cell(self.project(image).await?);
                let row = group * planes + plane;
                for (a, sums) in a
                    .chunks_exact_mut(unknowns * unknowns)
                    .zip(sums.chunks_exact(unknowns))
                {
                    a[row * unknowns..][..unknowns].copy_from_slice(sums);
                }
            }
        }
        let mut scales = self.download_scales().await?;
        let cells = a
            .chunks_exact_mut(unknowns * unknowns)
            .zip(b.chunks_exact_mut(unknowns));
        for (scales, (a, b)) in scales.chunks_exact_mut(unknowns).zip(cells) {
            scales::refit(scales, a, b);
        }
        self.upload_scales(&scales)
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
        let at = |first| Place {
            first,
            ..Place::rows(n)
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
