//! Codes from weights, and weights from codes.

use super::*;

/// Codes of all stages of a piece, and how far the quantized weights are from it.
///
/// Bindings: `r` the piece, f32; `scales` [cells, groups, 2, stages, 2] f32; `codes` [rows, 2, stages, words]
/// packed symbols; `errors` [rows, 2] 64-bit integers as (low, high): sums over the row's real weights of
/// `|R - Rq|^2` and `|R|^2`, each term [`fixed::square`] with the exponent one higher.
#[derive(Debug, Clone)]
pub struct PhasePack {
    /// The piece.
    pub piece: Piece,
    /// Whether errors are wanted; otherwise `errors` is left as it is.
    pub measure: bool,
}

/// The dense weight of codes: stages are added in their order, then U and W are merged.
///
/// Bindings: `codes` [rows, 2, stages, words] of the piece; `scales` [cells, groups, 2, stages, 2] f32;
/// `r` the piece, f32.
#[derive(Debug, Clone)]
pub struct PhaseUnpack {
    /// The piece.
    pub piece: Piece,
}

impl Op for PhasePack {
    const NAME: &'static str = "phase_pack";
    const SHADERS: &'static [Shader] = &[shader!(
        unchecked Features::NONE,
        quantize / "phase_pack",
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
        write("codes", Elem::U32),
        write("errors", Elem::U32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = PieceParams;

    fn params(&self) -> PieceParams {
        self.piece.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("STAGES", self.piece.stages as f64),
            ("MEASURE", f64::from(u8::from(self.measure))),
        ]
    }

    fn prelude(&self) -> &'static str {
        columns_prelude(&self.piece)
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.piece.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let p = &self.piece;
        vec![p.reals(), p.scales(), p.codes(), 4 * p.rows]
    }

    fn cost(&self) -> Cost {
        let p = &self.piece;
        Cost {
            bytes: 4.0 * (p.reals() + p.codes() + 4 * p.rows) as f64,
            ops: p.reals() as f64 * (40.0 + 6.0 * p.stages as f64),
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (r, scales): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let (codes, errors): (&mut [u32], &mut [u32]) = (b.write(2), b.write(3));
        let p = &self.piece;
        let words = codebook::words_for(p.half());
        for row in 0..p.rows {
            let mut found = vec![Vec::new(); 2 * p.stages];
            let (mut error, mut power) = (0u64, 0u64);
            for c in 0..p.half() {
                let mut rest = [0.0; 4];
                for (part, mut z) in p.parts(r, row, c).into_iter().enumerate() {
                    let at = p.scale_at(row, c) + part * 2 * p.stages;
                    for t in 0..p.stages {
                        let k = codebook::code(z[0], z[1]);
                        found[part * p.stages + t].push(k);
                        let q = value(k, [scales[at + 2 * t], scales[at + 2 * t + 1]]);
                        z = [z[0] - q[0], z[1] - q[1]];
                    }
                    rest[2 * part..2 * part + 2].copy_from_slice(&z);
                }
                for (place, e) in p.places(row, c).into_iter().zip(merge(rest)) {
                    if let Some(i) = place.filter(|_| self.measure) {
                        error += fixed::square(e, p.exponent + 1);
                        power += fixed::square(r[i], p.exponent + 1);
                    }
                }
            }
            let out = &mut codes[row * 2 * p.stages * words..][..2 * p.stages * words];
            for (out, found) in out.chunks_mut(words).zip(&found) {
                codebook::pack_row(found, out);
            }
            if self.measure {
                let pair = [error, power].map(|s| [s as u32, (s >> 32) as u32]);
                errors[4 * row..4 * row + 4].copy_from_slice(pair.as_flattened());
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        host::pack(self, b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::phase_pack()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |(i, (name, piece)): (usize, (&str, Piece))| {
            let (piece, r) = weights(piece, i as u32);
            let data = vec![
                Data::f32(&r),
                Data::f32(&scales(&piece, 8)),
                Data::Out(piece.codes()),
                Data::Out(4 * piece.rows),
            ];
            let measure = i % 4 != 3;
            Case::new(name, Self { piece, measure }, data)
        };
        pieces().into_iter().enumerate().map(case).collect()
    }
}

impl Op for PhaseUnpack {
    const NAME: &'static str = "phase_unpack";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "phase_unpack",
        "phase",
        "widely_linear",
        "piece"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("codes", Elem::U32),
        read("scales", Elem::F32),
        write("r", Elem::F32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = PieceParams;

    fn params(&self) -> PieceParams {
        self.piece.params()
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.piece.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let p = &self.piece;
        vec![p.codes(), p.scales(), p.reals()]
    }

    fn cost(&self) -> Cost {
        let p = &self.piece;
        Cost {
            bytes: 4.0 * (p.reals() + p.codes()) as f64,
            ops: p.reals() as f64 * (1.0 + 3.0 * p.stages as f64),
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (codes, scales): (&[u32], &[f32]) = (b.read(0), b.read(1));
        let r: &mut [f32] = b.write(2);
        let p = &self.piece;
        let words = codebook::words_for(p.half());
        for row in 0..p.rows {
            let codes = &codes[row * 2 * p.stages * words..][..2 * p.stages * words];
            for c in 0..p.half() {
                let at = p.scale_at(row, c);
                let mut z = [0.0; 4];
                for (plane, codes) in codes.chunks(words).enumerate() {
                    let s = &scales[at + 2 * plane..];
                    let q = value(codebook::code_at(codes, c), [s[0], s[1]]);
                    let part = 2 * (plane / p.stages);
                    z[part] += q[0];
                    z[part + 1] += q[1];
                }
                for (place, v) in p.places(row, c).into_iter().zip(merge(z)) {
                    if let Some(i) = place {
                        r[i] = v;
                    }
                }
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        host::unpack(self, b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::phase_unpack()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |(i, (name, piece)): (usize, (&str, Piece))| {
            let mut codes = noise_u32(i as u32, piece.codes());
            codes[0] = 0;
            let scales: Vec<f32> = noise(9, piece.scales(), 0.5)
                .iter()
                .map(|s| s.abs() + LEAST_SCALE)
                .collect();
            let data = vec![
                Data::u32(&codes),
                Data::f32(&scales),
                Data::Out(piece.reals()),
            ];
            Case::new(name, Self { piece }, data)
        };
        pieces().into_iter().enumerate().map(case).collect()
    }
}
