//! For given scales the nearest codes, each weight by itself.

use super::search::Stages;
use super::*;
use crate::ops::quantize::PieceParams;

/// Codes of the sum of stages nearest to each complex weight, for any scales: of all `4^T` sums, or stage by stage, each
/// stage nearest to what the stages before it leave.
///
/// Bindings: `r` the piece, f32; `scales` [cells, groups, 2, stages, 2] f32; `codes` [rows, 2, stages, words] packed
/// symbols.
#[derive(Debug, Clone)]
pub struct PhaseNearest {
    /// The weight.
    pub piece: Piece,
    /// Stage by stage: the first stages are then the nearest by themselves, and their codes depend on no later stage.
    pub nested: bool,
}

impl PhaseNearest {
    /// Codes of one complex row.
    fn row(&self, r: &[f32], scales: &[f32], row: usize, codes: &mut [u32]) {
        let p = &self.piece;
        let (words, stages) = (codebook::words_for(p.half()), p.stages);
        codes.fill(0);
        let mut known = (usize::MAX, [Stages::new(&[]); 2]);
        for c in 0..p.half() {
            let at = p.scale_at(row, c);
            if known.0 != at {
                let of = |part: usize| Stages::new(&scales[at + part * 2 * stages..][..2 * stages]);
                known = (at, [of(0), of(1)]);
            }
            for (part, z) in p.parts(r, row, c).into_iter().enumerate() {
                let code = match self.nested {
                    true => known.1[part].nested(z),
                    false => known.1[part].nearest(z).code,
                };
                for t in 0..stages {
                    let k = (code >> (2 * t) & 3) as u8;
                    let word = (part * stages + t) * words + c / codebook::COLUMNS_PER_WORD;
                    codes[word] |=
                        codebook::symbol(k) << codebook::shift_of(c % codebook::COLUMNS_PER_WORD);
                }
            }
        }
    }

    fn row_words(&self) -> usize {
        2 * self.piece.stages * codebook::words_for(self.piece.half())
    }
}

impl Op for PhaseNearest {
    const NAME: &'static str = "phase_nearest";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        calibrate / "phase_nearest",
        "phase_search",
        "phase",
        "widely_linear",
        "piece"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("r", Elem::F32),
        read("scales", Elem::F32),
        write("codes", Elem::U32),
    ];
    // no choice of the cases is closer than a device's rounding: `no_choice_is_close`
    const AGREE: Agree = Agree::Bits;
    type Params = PieceParams;

    fn params(&self) -> PieceParams {
        self.piece.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("STAGES", self.piece.stages as f64),
            ("NESTED", f64::from(u8::from(self.nested))),
        ]
    }

    fn grid(&self) -> Grid {
        let words = self.piece.rows * codebook::words_for(self.piece.half());
        Grid {
            groups: words.div_ceil(64) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let p = &self.piece;
        vec![p.reals(), p.scales(), p.codes()]
    }

    fn cost(&self) -> Cost {
        let p = &self.piece;
        let sums = match self.nested {
            true => 1.0,
            false => 4f64.powi(p.stages as i32 - 1),
        };
        Cost {
            bytes: 4.0 * (p.reals() + p.codes()) as f64,
            ops: (p.rows * p.half()) as f64 * 2.0 * sums * (12.0 + 3.0 * p.stages as f64),
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (r, scales): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let codes: &mut [u32] = b.write(2);
        for (row, codes) in codes
            .chunks_mut(self.row_words())
            .take(self.piece.rows)
            .enumerate()
        {
            self.row(r, scales, row, codes);
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (r, scales): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let codes: &mut [u32] = b.write(2);
        let codes = &mut codes[..self.piece.codes()];
        cpu::each_chunk(codes, self.row_words(), |row, codes| {
            self.row(r, scales, row, codes);
        });
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |(seed, name, op): (u32, String, Self)| {
            let data = vec![
                Data::f32(&noise(seed, op.piece.reals(), 2.0)),
                Data::f32(&scales(&op.piece, 172)),
                Data::Out(op.piece.codes()),
            ];
            Case::new(&name, op, data)
        };
        choices().map(case).collect()
    }
}

/// The cases: seeds of their weights, names and ops.
fn choices() -> impl Iterator<Item = (u32, String, PhaseNearest)> {
    let case = |nested: bool, i: usize, (name, piece): (&str, Piece)| {
        let (first, name) = match nested {
            true => (FIRST_NESTED, format!("{name}, stage by stage")),
            false => (171, name.to_owned()),
        };
        (first + i as u32, name, PhaseNearest { piece, nested })
    };
    let all = pieces().into_iter().enumerate();
    let nested = pieces().into_iter().take(5).enumerate();
    all.map(move |(i, of)| case(false, i, of))
        .chain(nested.map(move |(i, of)| case(true, i, of)))
}

/// The seed of the first case that goes stage by stage.
const FIRST_NESTED: u32 = 1171;

/// Shapes of the cases: all granularities and stages, odd sizes, rows longer than a word.
pub(in crate::ops) fn pieces() -> Vec<(&'static str, Piece)> {
    let whole =
        |out, columns, granularity, stages| Piece::whole(out, columns, granularity, stages, 0);
    vec![
        ("one weight", whole(1, 1, Granularity::Tensor, 1)),
        (
            "two stages per tensor",
            whole(24, 64, Granularity::Tensor, 2),
        ),
        (
            "two stages per row, odd",
            whole(13, 77, Granularity::Row, 2),
        ),
        (
            "three stages by group",
            whole(6, 203, Granularity::Group(16), 3),
        ),
        ("four stages per row", whole(4, 40, Granularity::Row, 4)),
        ("one stage, wide", whole(5, 1300, Granularity::Row, 1)),
    ]
}

/// Scales that cast_f16 from stage to stage or so, as fitted ones do.
pub(in crate::ops) fn scales(piece: &Piece, seed: u32) -> Vec<f32> {
    let noise = noise(seed, piece.scales(), 0.2);
    let stage = |i: usize| 0.5f32.powi((i / 2 % piece.stages) as i32);
    noise
        .iter()
        .enumerate()
        .map(|(i, v)| stage(i) * (1.0 + v))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Devices may round products differently: choices between sums that are nearly as near would not be theirs to judge.
    #[test]
    fn no_choice_is_close() {
        for (seed, name, PhaseNearest { piece, nested }) in choices() {
            let r = noise(seed, piece.reals(), 2.0);
            let scales = scales(&piece, 172);
            for row in 0..piece.rows {
                for c in 0..piece.half() {
                    for (part, z) in piece.parts(&r, row, c).into_iter().enumerate() {
                        let at = piece.scale_at(row, c) + part * 2 * piece.stages;
                        let scales = &scales[at..][..2 * piece.stages];
                        let mut left = z;
                        let steps = if nested { piece.stages } else { 1 };
                        for chosen in scales.chunks(scales.len() / steps) {
                            let stages = Stages::new(chosen);
                            let apart = |s: [f32; 2]| [left[0] - s[0], left[1] - s[1]];
                            let mut far: Vec<_> = stages
                                .sums()
                                .map(|(_, s)| apart(s))
                                .map(|e| (e[0] * e[0] + e[1] * e[1], e))
                                .collect();
                            far.sort_by(|a, b| a.0.total_cmp(&b.0));
                            assert!(far[1].0 - far[0].0 > 4e-6, "{name}: {row}, {c}: {far:?}");
                            left = far[0].1;
                        }
                    }
                }
            }
        }
    }
}
