//! Matrix products of a step: of linear layers, forward and back, and of attention.

use super::Trainer;
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::train::matmul::{MatmulTrain, Place};

/// Columns of a buffer's rows.
pub(super) struct Columns<'a, B: Backend> {
    pub buffer: &'a B::Buffer,
    /// Values from row to row.
    pub width: usize,
    /// The first column.
    pub first: usize,
}

impl<'a, B: Backend> Columns<'a, B> {
    /// All columns of rows of `width`.
    pub fn all(buffer: &'a B::Buffer, width: usize) -> Self {
        Self::from(buffer, width, 0)
    }

    /// Those from `first` on.
    pub fn from(buffer: &'a B::Buffer, width: usize, first: usize) -> Self {
        Self {
            buffer,
            width,
            first,
        }
    }

    /// The same columns of the rows from `row` on.
    pub fn below(self, row: usize) -> Self {
        Self {
            first: self.first + row * self.width,
            ..self
        }
    }

    fn place(&self) -> Place {
        Place {
            first: self.first,
            ..Place::rows(self.width)
        }
    }
}

impl<B: Backend> Trainer<B> {
    /// Any product.
    pub(super) async fn product(&self, op: MatmulTrain, [a, b, c]: [&B::Buffer; 3]) -> Result<()> {
        self.backend.run(&op, &[a, b, c]).await
    }

    /// The weight of a linear layer as the forward pass sees it.
    fn weight(&self, parameter: usize) -> &B::Buffer {
        let quantized = self.quantizer.weight(parameter);
        quantized.unwrap_or(&self.held[parameter].value)
    }

    /// `y (+)= x W^T` for the layer `parameter`.
    pub(super) async fn linear(
        &self,
        parameter: usize,
        rows: usize,
        x: Columns<'_, B>,
        y: Columns<'_, B>,
        accumulate: bool,
    ) -> Result<()> {
        let p = &self.list[parameter];
        self.backend.at(&|| p.name.clone());
        let size = [rows, p.rows, p.columns];
        let op = MatmulTrain {
            accumulate,
            ..MatmulTrain::new(size, x.place(), Place::rows(p.columns), y.place())
        };
        self.product(op, [x.buffer, self.weight(parameter), y.buffer])
            .await
    }

    /// `d_x (+)= d_y W`.
    pub(super) async fn linear_input(
        &self,
        parameter: usize,
        rows: usize,
        d_y: Columns<'_, B>,
        d_x: Columns<'_, B>,
        accumulate: bool,
    ) -> Result<()> {
        let p = &self.list[parameter];
        self.backend.at(&|| format!("{}, input gradient", p.name));
        let size = [rows, p.columns, p.rows];
        let weight = Place::rows(p.columns).turned();
        let op = MatmulTrain {
            accumulate,
            ..MatmulTrain::new(size, d_y.place(), weight, d_x.place())
        };
        self.product(op, [d_y.buffer, self.weight(parameter), d_x.buffer])
            .await
    }

    /// `dW += d_y^T x`: the gradient of the quantized weight is the master's.
    pub(super) async fn linear_weight(
        &self,
        parameter: usize,
        rows: usize,
        d_y: Columns<'_, B>,
        x: Columns<'_, B>,
    ) -> Result<()> {
        let p = &self.list[parameter];
        self.backend.at(&|| format!("{}, weight gradient", p.name));
        let size = [p.rows, p.columns, rows];
        let (d_y_at, x_at) = (d_y.place().turned(), x.place().turned());
        let op = MatmulTrain::new(size, d_y_at, x_at, Place::rows(p.columns)).adding();
        let gradient = &self.held[parameter].gradient;
        self.product(op, [d_y.buffer, x.buffer, gradient]).await
    }
}
