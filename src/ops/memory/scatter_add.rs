//! Adding rows to rows elsewhere.

use crate::ops::*;

/// `y[rows[i]] += weights[i] * x[i]` for vectors of `n` values. No row of `y` is named twice.
///
/// Bindings: `x` [count, n] f32; `rows` [offset + count] u32 and `weights` [offset + count] f32, whose entry `offset + i` belongs to row
/// i of x; `y` [y_rows, n] f32.
#[derive(Debug, Clone)]
pub struct ScatterAdd {
    /// Rows of `x`.
    pub count: usize,
    /// Values of a row.
    pub n: usize,
    /// Index of what belongs to row 0 of `x` in the two lists.
    pub offset: usize,
    /// Rows of `y`; one that is named beyond them is left out.
    pub y_rows: usize,
}

params! {
    /// Uniform block of [`ScatterAdd`].
    pub struct ScatterAddParams {
        count: u32,
        n: u32,
        offset: u32,
        y_rows: u32,
    }
}

impl Op for ScatterAdd {
    const NAME: &'static str = "scatter_add";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, memory / "scatter_add")];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        read("rows", Elem::U32),
        read("weights", Elem::F32),
        write("y", Elem::F32),
    ];
    // devices may fuse the product and the sum
    const AGREE: Agree = Agree::Nmse(1e-14);
    type Params = ScatterAddParams;

    fn shape(&self) -> String {
        let Self {
            count,
            n,
            offset,
            y_rows,
        } = self;
        format!("count={count},n={n},offset={offset},y_rows={y_rows}")
    }

    fn params(&self) -> ScatterAddParams {
        ScatterAddParams {
            count: self.count as u32,
            n: self.n as u32,
            offset: self.offset as u32,
            y_rows: self.y_rows as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.count * self.n)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.count * self.n,
            self.offset + self.count,
            self.offset + self.count,
            self.y_rows * self.n,
        ]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 12.0 * (self.count * self.n) as f64,
            ops: 2.0 * (self.count * self.n) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, rows): (&[f32], &[u32]) = (b.read(0), b.read(1));
        let (weights, y): (&[f32], &mut [f32]) = (b.read(2), b.write(3));
        let lists = rows.iter().zip(weights).skip(self.offset);
        let each = x.chunks_exact(self.n).zip(lists);
        for (x, (&row, &weight)) in each.take(self.count) {
            let y = y
                .chunks_exact_mut(self.n)
                .take(self.y_rows)
                .nth(row as usize);
            for (y, &x) in y.into_iter().flatten().zip(x) {
                *y += weight * x;
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |rows: &[u32], offset: usize, n, y_rows| {
            let count = rows.len() - offset;
            let op = Self {
                count,
                n,
                offset,
                y_rows,
            };
            let floats = |seed, len| Data::f32(&noise(seed, len, 1.0));
            let data = vec![
                floats(160, count * n),
                Data::u32(rows),
                floats(161, rows.len()),
                floats(162, y_rows * n),
            ];
            Case::new("", op, data)
        };
        // one row, and several in another order, one of which is nowhere
        vec![case(&[0], 0, 5, 1), case(&[1, 4, 7, 0, 2], 1, 130, 5)]
    }
}
