//! Sums of the magnitudes that a stage's scales are means of.

use super::*;

/// Exact sums of `|re|` over the weights of `E_stage` coded +-1 and of `|im|` over those coded +-i, for U and W.
///
/// Bindings: `r` the piece, f32; `scales` [cells, groups, 2, stages, 2] f32, of which stages before this one
/// are read; `sums` [total rows, groups, 2 (U, W), 2 (re, im)] of three words: low and high half of the sum
/// of [`fixed::magnitude`], number of weights. The rows of the piece are written.
#[derive(Debug, Clone)]
pub struct PhaseScale {
    /// The piece.
    pub piece: Piece,
    /// The stage whose sums are wanted.
    pub stage: usize,
}

impl Op for PhaseScale {
    const NAME: &'static str = "phase_scale";
    const SHADERS: &'static [Shader] = &[shader!(
        unchecked Features::NONE,
        quantize / "phase_scale",
        "wide",
        "fixed",
        "phase",
        "widely_linear",
        "piece",
        "columns"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("r", Elem::F32),
        read("scales", Elem::F32),
        write("sums", Elem::U32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = PieceParams;

    fn params(&self) -> PieceParams {
        self.piece.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("STAGE", self.stage as f64)]
    }

    fn prelude(&self) -> &'static str {
        columns_prelude(&self.piece)
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.piece.rows * self.piece.groups()) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let p = &self.piece;
        vec![p.reals(), p.scales(), p.sums()]
    }

    fn cost(&self) -> Cost {
        let n = self.piece.reals() as f64;
        Cost {
            bytes: 4.0 * n + 48.0 * (self.piece.rows * self.piece.groups()) as f64,
            ops: n * (10.0 + 5.0 * self.stage as f64),
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (r, scales): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let sums: &mut [u32] = b.write(2);
        let p = &self.piece;
        for row in 0..p.rows {
            for group in 0..p.groups() {
                let mut totals = [(0u64, 0u32); 4];
                for c in group * p.group()..p.half().min((group + 1) * p.group()) {
                    for (part, mut z) in p.parts(r, row, c).into_iter().enumerate() {
                        let at = p.scale_at(row, c) + part * 2 * p.stages;
                        for s in scales[at..].chunks(2).take(self.stage) {
                            let q = value(codebook::code(z[0], z[1]), [s[0], s[1]]);
                            z = [z[0] - q[0], z[1] - q[1]];
                        }
                        let axis = usize::from(codebook::code(z[0], z[1]) & 1);
                        let total = &mut totals[2 * part + axis];
                        total.0 += fixed::magnitude(z[axis], p.exponent);
                        total.1 += 1;
                    }
                }
                let at = ((p.first_row + row) * p.groups() + group) * 12;
                for (out, (sum, count)) in sums[at..].chunks_mut(3).zip(totals) {
                    out.copy_from_slice(&[sum as u32, (sum >> 32) as u32, count]);
                }
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        host::scale(self, b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::phase_scale()
    }

    fn cases() -> Vec<Case<Self>> {
        let mut cases = Vec::new();
        for (i, (name, piece)) in pieces().into_iter().enumerate() {
            for stage in 0..piece.stages {
                let (piece, r) = weights(piece, (i + stage) as u32);
                let op = Self { piece, stage };
                let data = vec![
                    Data::f32(&r),
                    Data::f32(&scales(&piece, 7)),
                    Data::Out(piece.sums()),
                ];
                cases.push(Case::new(format!("{name}, stage {stage}"), op, data));
            }
        }
        cases
    }
}
