//! Scales from sums.

use super::*;

/// `scale = max(sum / count, least)`, one division of exact sums, rounded once ([`fixed::mean`]).
///
/// Bindings: `sums` [total rows, groups, 2, 2] of (low, high, count); `scales` [cells, groups, 2, stages, 2]
/// f32, of which those of `stage` are written.
#[derive(Debug, Clone)]
pub struct PhaseMean {
    /// The shapes: of all rows, whatever piece of them it names.
    pub piece: Piece,
    /// The stage whose scales these are.
    pub stage: usize,
    /// The least scale; positive.
    pub least: f32,
}

/// Uniform block of [`PhaseMean`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, bytemuck::Zeroable)]
pub struct MeanParams {
    rows: u32,
    scales: u32,
    stages: u32,
    stage: u32,
    exponent: i32,
    least: f32,
}

impl PhaseMean {
    /// Rows that share one scale, and scales of this stage.
    fn shares(&self) -> (usize, usize) {
        let rows = self.piece.total_rows;
        let per_row = 4 * self.piece.groups();
        if self.piece.by_row() {
            (1, rows * per_row)
        } else {
            (rows, per_row)
        }
    }
}

impl Op for PhaseMean {
    const NAME: &'static str = "phase_mean";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "phase_mean",
        "wide",
        "fixed"
    )];
    const BINDINGS: &'static [Binding] = &[read("sums", Elem::U32), write("scales", Elem::F32)];
    const AGREE: Agree = Agree::Bits;
    type Params = MeanParams;

    fn params(&self) -> MeanParams {
        let (rows, scales) = self.shares();
        MeanParams {
            rows: rows as u32,
            scales: scales as u32,
            stages: self.piece.stages as u32,
            stage: self.stage as u32,
            exponent: self.piece.exponent,
            least: self.least,
        }
    }

    fn grid(&self) -> Grid {
        let (rows, scales) = self.shares();
        let groups = if rows > 1 {
            scales
        } else {
            scales.div_ceil(256)
        };
        Grid {
            groups: groups as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.piece.sums(), self.piece.scales()]
    }

    fn cost(&self) -> Cost {
        let (rows, scales) = self.shares();
        Cost {
            bytes: (scales * (12 * rows + 4)) as f64,
            ops: (scales * (3 * rows + 400)) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (sums, scales): (&[u32], &mut [f32]) = (b.read(0), b.write(1));
        let (rows, count) = self.shares();
        for scale in 0..count {
            let (mut sum, mut number) = (0u64, 0u32);
            for row in 0..rows {
                let entry = &sums[(row * count + scale) * 3..][..3];
                sum += u64::from(entry[0]) | u64::from(entry[1]) << 32;
                number += entry[2];
            }
            let (owner, axis) = (scale / 2, scale % 2);
            scales[(owner * self.piece.stages + self.stage) * 2 + axis] =
                fixed::mean(sum, number, self.piece.exponent, self.least);
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::phase_mean()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, piece: Piece, stage, least, sums: Vec<u32>| {
            let op = Self {
                piece,
                stage,
                least,
            };
            let data = vec![Data::u32(&sums), Data::Out(piece.scales())];
            Case::new(name, op, data)
        };
        let random = |piece: &Piece, seed, width: u32, count: u32| -> Vec<u32> {
            let mut words = noise_u32(seed, piece.sums());
            for (i, triple) in words.chunks_mut(3).enumerate() {
                // sums of all sizes; rows of a tensor must not overflow together
                let sum = (u64::from(triple[1]) << 32 | u64::from(triple[0])) >> (64 - width);
                let sum = sum >> (hash32(i as u32, seed) % width);
                let number = triple[2] >> (32 - count) >> (hash32(i as u32, seed + 1) % count);
                triple.copy_from_slice(&[sum as u32, (sum >> 32) as u32, number]);
            }
            words
        };
        let row = Piece::whole(600, 40, Granularity::Row, 2, -3);
        let group = Piece::whole(9, 203, Granularity::Group(16), 3, 100);
        let tensor = Piece::whole(2001, 8, Granularity::Tensor, 2, 0);
        let one = Piece::whole(2, 2, Granularity::Tensor, 1, 127);
        let edges: Vec<u32> = [
            (1u64, 1u32),
            (u64::MAX, 1),
            (u64::MAX, u32::MAX),
            (1, u32::MAX),
            (0, 5),
            (7, 0),
            ((1 << 25) + 1, 1),
            ((1 << 25) + 3, 1),
            ((1 << 25) - 1, 1),
            (3 << 35, 3),
            ((1 << 26) + 2, 2),
            ((1 << 26) + 3, 2),
        ]
        .iter()
        .flat_map(|&(s, n)| [s as u32, (s >> 32) as u32, n])
        .collect();
        let edge = |exponent| Piece::whole(6, 2, Granularity::Row, 1, exponent);
        vec![
            case("per row", row, 1, 1e-6, random(&row, 1, 64, 32)),
            case("per group", group, 0, 1e-5, random(&group, 2, 64, 30)),
            case("per tensor", tensor, 1, 1e-6, random(&tensor, 3, 53, 21)),
            case("one weight", one, 0, 1e-6, random(&one, 4, 60, 8)),
            case("edges", edge(0), 0, 1e-30, edges.clone()),
            case("edges, small", edge(-100), 0, 1e-38, edges.clone()),
            case("edges, large", edge(110), 0, 1e-6, edges),
        ]
    }
}
