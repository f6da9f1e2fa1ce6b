//! Matrix products of a step: of linear layers, forward and back, and of attention.

use super::Trainer;
use crate::backend::Backend;
use crate::error::Result;
use crate::model::{Form, Method};
use crate::ops::memory::CastF16;
use crate::ops::quantize::{ConjugateFold, FakeQuant};
use crate::ops::train::{MatmulTrain, MatmulTrainCoop, MatrixView};

/// Columns of a buffer's rows.
pub(super) struct Columns<'a, B: Backend> {
    pub buffer: &'a B::Buffer,
    /// The distance between rows, in values.
    pub width: usize,
    /// The first column.
    pub first: usize,
    /// Whether the values are in f16.
    pub half: bool,
}

impl<B: Backend> Clone for Columns<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Columns<'_, B> {}

impl<'a, B: Backend> Columns<'a, B> {
    /// All columns of rows of `width`.
    pub(super) fn all(buffer: &'a B::Buffer, width: usize) -> Self {
        Self {
            buffer,
            width,
            first: 0,
            half: false,
        }
    }

    /// The columns from `first` on.
    pub(super) fn from(self, first: usize) -> Self {
        Self {
            first: self.first + first,
            ..self
        }
    }

    /// The same columns of the rows from `row` on.
    pub(super) fn below(self, row: usize) -> Self {
        self.from(row * self.width)
    }

    fn place(&self) -> MatrixView {
        MatrixView {
            offset: self.first,
            ..MatrixView::rows(self.width)
        }
    }
}

/// Which of two factors of a product is made ready.
#[derive(Clone, Copy)]
pub(super) enum Factor {
    /// Gradients of outputs.
    Left,
    /// Inputs.
    Right,
}

impl<B: Backend> Trainer<B> {
    /// `x` as products take it best: in half precision, if the device has matrix units for that. The next factor of its kind
    /// overwrites it.
    pub(super) async fn factor<'a>(
        &'a self,
        which: Factor,
        rows: usize,
        x: Columns<'a, B>,
    ) -> Result<Columns<'a, B>> {
        let Some(halves) = &self.scratch.halves else {
            return Ok(x);
        };
        let dst = &halves[which as usize];
        let cast_f16 = CastF16 {
            rows,
            columns: x.width,
            stride: x.width,
            offset: x.first,
        };
        self.backend.run(&cast_f16, &[x.buffer, dst]).await?;
        Ok(Columns {
            half: true,
            ..Columns::all(dst, x.width)
        })
    }

    /// The input of layers of a `form` as products take it best, and on the grid of the integers that quantized layers round
    /// it to: each token, or each half of it, has a grid of its own. The next input overwrites it.
    pub(super) async fn layer_input<'a>(
        &'a self,
        form: Form,
        rows: usize,
        x: Columns<'a, B>,
    ) -> Result<Columns<'a, B>> {
        let rounded = self.scratch.rounded.as_ref();
        let rounded = rounded.filter(|_| self.quantizer.recipe.method != Method::Full);
        let Some(rounded) = rounded else {
            return self.factor(Factor::Right, rows, x).await;
        };
        let scales = form.token_scales();
        debug_assert!(x.first == 0 && x.width.is_multiple_of(scales));
        let op = FakeQuant {
            tokens: rows * scales,
            columns: x.width / scales,
            mode: self.options.activations,
        };
        self.backend.scope(&|| "rounding activations".to_owned());
        self.backend.run(&op, &[x.buffer, rounded]).await?;
        let x = Columns::all(rounded, x.width);
        self.factor(Factor::Right, rows, x).await
    }

    /// Runs a product whose factors are in f16 where the flags say so, and else in f32.
    pub(super) async fn product(
        &self,
        op: MatmulTrain,
        buffers: [&B::Buffer; 3],
        [a_half, b_half]: [bool; 2],
    ) -> Result<()> {
        if self.scratch.halves.is_none() {
            return self.backend.run(&op, &buffers).await;
        }
        let op = MatmulTrainCoop {
            product: op,
            a_half,
            b_half,
        };
        self.backend.run(&op, &buffers).await
    }

    /// The weight of a linear layer as the forward pass sees it, and whether it is in f16.
    fn weight(&self, parameter: usize) -> (&B::Buffer, bool) {
        self.quantizer.weight(&self.tensors, parameter)
    }

    /// `y (+)= x * W^T` for the layer `parameter`.
    pub(super) async fn linear(
        &self,
        parameter: usize,
        rows: usize,
        x: Columns<'_, B>,
        y: Columns<'_, B>,
        accumulate: bool,
    ) -> Result<()> {
        self.backend.scope(&|| self.list[parameter].name.clone());
        let weight = self.weight(parameter);
        self.linear_by(weight, parameter, rows, x, y, accumulate)
            .await
    }

    /// [`Self::linear`] by any weight of the layer's shape, in f16 or not.
    pub(super) async fn linear_by(
        &self,
        (weight, half): (&B::Buffer, bool),
        parameter: usize,
        rows: usize,
        x: Columns<'_, B>,
        y: Columns<'_, B>,
        accumulate: bool,
    ) -> Result<()> {
        let p = &self.list[parameter];
        let size = [rows, p.rows, p.real_columns()];
        let op = MatmulTrain {
            accumulate,
            ..MatmulTrain::new(
                size,
                x.place(),
                MatrixView::rows(p.real_columns()),
                y.place(),
            )
        };
        let buffers = [x.buffer, weight, y.buffer];
        self.product(op, buffers, [x.half, half]).await
    }

    /// `d_x (+)= d_y * W`.
    pub(super) async fn linear_input(
        &self,
        parameter: usize,
        rows: usize,
        d_y: Columns<'_, B>,
        d_x: Columns<'_, B>,
        accumulate: bool,
    ) -> Result<()> {
        let p = &self.list[parameter];
        self.backend
            .scope(&|| format!("{}, input gradient", p.name));
        let size = [rows, p.real_columns(), p.rows];
        let transposed = MatrixView::rows(p.real_columns()).transposed();
        let op = MatmulTrain {
            accumulate,
            ..MatmulTrain::new(size, d_y.place(), transposed, d_x.place())
        };
        let (weight, half) = self.weight(parameter);
        let buffers = [d_y.buffer, weight, d_x.buffer];
        self.product(op, buffers, [d_y.half, half]).await
    }

    /// `dW += d_y^T * x`: the gradient of the quantized weight is the master's. That of a complex layer's real matrix is
    /// folded into that of the complex weight. Where codes stay, it becomes that of their scales at once.
    pub(super) async fn linear_weight(
        &self,
        parameter: usize,
        rows: usize,
        d_y: Columns<'_, B>,
        x: Columns<'_, B>,
    ) -> Result<()> {
        let (p, shared) = (&self.list[parameter], self.quantizer.shared());
        if shared.is_some() && !self.quantizer.quantizes(parameter) {
            return Ok(()); // a weight that is only used
        }
        self.backend
            .scope(&|| format!("{}, weight gradient", p.name));
        let size = [p.rows, p.real_columns(), rows];
        let (d_y_at, x_at) = (d_y.place().transposed(), x.place().transposed());
        let op = MatmulTrain::new(size, d_y_at, x_at, MatrixView::rows(p.real_columns()));
        let halves = [d_y.half, x.half];
        if let (Some(weight), Some(real)) = (p.complex(), &self.scratch.d_real) {
            let buffers = [d_y.buffer, x.buffer, real];
            self.product(op, buffers, halves).await?;
            let fold = ConjugateFold {
                weight,
                accumulate: true,
            };
            let gradient = &self.tensors[parameter].gradient;
            return self.backend.run(&fold, &[real, gradient]).await;
        }
        let Some(shared) = shared else {
            let gradient = &self.tensors[parameter].gradient;
            let buffers = [d_y.buffer, x.buffer, gradient];
            return self.product(op.adding(), buffers, halves).await;
        };
        let buffers = [d_y.buffer, x.buffer, shared];
        self.product(op, buffers, halves).await?;
        self.quantizer
            .add_scale_gradient(&self.backend, &self.list, &self.tensors, parameter)
            .await
    }
}
