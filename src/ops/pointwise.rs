//! Ops whose elements, or rows, know nothing of each other: embedding, norm, gated activation.

use super::*;
use bytemuck::Zeroable;

/// Elements that one workgroup of an element-wise kernel covers.
const WIDTH: usize = 256;

/// Looks up token embeddings: `y[row] = table[ids[row]]`, exact.
///
/// The table may be one shard of a split matrix; rows whose id lies in another shard are left alone, so that
/// running every shard in turn fills `y`.
///
/// Bindings: `table` [table_rows, row_words] u32 (see [`Stored`]); `ids` [ids_from + rows] u32; `y` [rows, hidden] f32.
#[derive(Debug, Clone)]
pub struct TokenEmbed {
    /// Tokens.
    pub rows: usize,
    /// Values per token.
    pub hidden: usize,
    /// Element type of the table.
    pub stored: Stored,
    /// Words from row to row of the table.
    pub row_words: usize,
    /// Id of the shard's first row.
    pub first_row: usize,
    /// Rows of the shard.
    pub table_rows: usize,
    /// Place of the first row's id in `ids`.
    pub ids_from: usize,
}

/// Uniform block of [`TokenEmbed`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct TokenEmbedParams {
    rows: u32,
    hidden: u32,
    row_words: u32,
    first_row: u32,
    table_rows: u32,
    ids_from: u32,
}

impl Op for TokenEmbed {
    const NAME: &'static str = "token_embed";
    const SHADERS: &'static [Shader] = &[shader!(Needs::NONE, "token_embed")];
    const BINDINGS: &'static [Binding] = &[
        read("table", Elem::U32),
        read("ids", Elem::U32),
        write("y", Elem::F32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = TokenEmbedParams;

    fn params(&self) -> TokenEmbedParams {
        TokenEmbedParams {
            rows: self.rows as u32,
            hidden: self.hidden as u32,
            row_words: self.row_words as u32,
            first_row: self.first_row as u32,
            table_rows: self.table_rows as u32,
            ids_from: self.ids_from as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("ELEM", self.stored.code())]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.rows * self.hidden).div_ceil(WIDTH) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.table_rows * self.row_words,
            self.ids_from + self.rows,
            self.rows * self.hidden,
        ]
    }

    fn cost(&self) -> Cost {
        let bytes = 4 * (self.stored.words(self.hidden) + self.hidden + 1);
        Cost {
            bytes: (self.rows * bytes) as f64,
            ops: 0.0,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (table, ids): (&[u32], &[u32]) = (b.read(0), b.read(1));
        let y: &mut [f32] = b.write(2);
        for (&id, y) in ids[self.ids_from..]
            .iter()
            .zip(y.chunks_exact_mut(self.hidden))
            .take(self.rows)
        {
            let here = (id as usize).checked_sub(self.first_row);
            if let Some(row) = here.filter(|&row| row < self.table_rows) {
                let words = &table[row * self.row_words..][..self.row_words];
                self.stored.decode(words, y);
            }
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        large::token_embed()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, op: TokenEmbed, table: Vec<u32>, ids: &[u32]| {
            let out = Data::Out(op.rows * op.hidden);
            Case::new(name, op, vec![Data::Words(table), Data::u32(ids), out])
        };
        let mut cases = Vec::new();
        for (stored, name) in [
            (Stored::F32, "f32"),
            (Stored::F16, "f16"),
            (Stored::Bf16, "bf16"),
        ] {
            let op = |rows, hidden| TokenEmbed {
                rows,
                hidden,
                stored,
                row_words: stored.words(hidden),
                first_row: 0,
                table_rows: 20,
                ids_from: 0,
            };
            let values = noise(11, 20 * 301, 3.0);
            let table =
                |hidden| stored.encode_rows(&values[..20 * hidden], hidden, stored.words(hidden));
            cases.push(case(name, op(4, 288), table(288), &[19, 0, 7, 7]));
            cases.push(case(
                &format!("{name}, odd width, ids nowhere"),
                op(3, 301),
                table(301),
                &[20, 3, u32::MAX],
            ));
            let mut shard = op(5, 64);
            (shard.first_row, shard.table_rows, shard.row_words) = (100, 7, 68);
            let rows = stored.encode_rows(&values[..7 * 64], 64, 68);
            let ids = [99, 100, 106, 107, 3];
            cases.push(case(
                &format!("{name}, shard, padded rows"),
                shard,
                rows,
                &ids,
            ));
        }
        cases.push(every_half());
        cases
    }
}

/// All finite halves and the infinities; NaN has too many faces to be compared.
fn every_half() -> Case<TokenEmbed> {
    let halves = (0..=u16::MAX).filter(|&h| !half::f16::from_bits(h).is_nan());
    let table: Vec<u16> = halves.collect();
    let hidden = table.len();
    let op = TokenEmbed {
        rows: 1,
        hidden,
        stored: Stored::F16,
        row_words: hidden / 2,
        first_row: 0,
        table_rows: 1,
        ids_from: 0,
    };
    let words = table
        .chunks(2)
        .map(|h| u32::from(h[0]) | u32::from(h[1]) << 16);
    let data = vec![
        Data::Words(words.collect()),
        Data::u32(&[0]),
        Data::Out(hidden),
    ];
    Case::new("every half", op, data)
}

/// Root-mean-square norm of rows: `y = x / sqrt(mean(x^2) + eps) * weight`.
///
/// Bindings: `x` [rows, n] f32; `weight` `[n]` f32; `y` [rows, n] f32.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// Tokens.
    pub rows: usize,
    /// Values per token.
    pub n: usize,
    /// Added to the mean square.
    pub eps: f32,
}

/// Uniform block of [`RmsNorm`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct RmsNormParams {
    rows: u32,
    n: u32,
    eps: f32,
}

impl Op for RmsNorm {
    const NAME: &'static str = "rms_norm";
    const SHADERS: &'static [Shader] = &[shader!(Needs::NONE, "rms_norm", "reduce")];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        read("weight", Elem::F32),
        write("y", Elem::F32),
    ];
    // n = 8192: the square, 2 + 2 sums in a step, 2 steps, 2 + 8 sums over lanes are some 16 roundings of the
    // sum, half of that after the root; division 2.5 / 2, root 2, two products 2: even all one way below 16
    const AGREE: Agree = Agree::Ulp(16);
    type Params = RmsNormParams;

    fn params(&self) -> RmsNormParams {
        RmsNormParams {
            rows: self.rows as u32,
            n: self.n as u32,
            eps: self.eps,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.rows * self.n, self.n, self.rows * self.n]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * (2 * self.rows * self.n + self.n) as f64,
            ops: 4.0 * (self.rows * self.n) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, weight): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let y: &mut [f32] = b.write(2);
        for (x, y) in x
            .chunks_exact(self.n)
            .zip(y.chunks_exact_mut(self.n))
            .take(self.rows)
        {
            let squares: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            let root = (squares / self.n as f64 + f64::from(self.eps)).sqrt();
            for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
                *y = (f64::from(x) / root * f64::from(w)) as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (x, weight): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let y: &mut [f32] = b.write(2);
        let rows = x.chunks_exact(self.n).zip(y.chunks_exact_mut(self.n));
        // half a nanosecond per value
        super::host::each_worth(rows.take(self.rows).collect(), self.n / 2, |(x, y)| {
            super::vector::normed(x, &weight[..self.n], self.eps, y);
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        large::rms_norm()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, rows, n, amplitude| {
            let op = RmsNorm { rows, n, eps: 1e-5 };
            let x = noise(21, rows * n, amplitude);
            let weight = noise(22, n, 2.0);
            let data = vec![Data::f32(&x), Data::f32(&weight), Data::Out(rows * n)];
            Case::new(name, op, data)
        };
        let mut cases = vec![
            case("several rows", 5, 288, 1.0),
            case("odd width", 3, 75, 4.0),
            case("wide", 2, 5003, 0.5),
            case("widest", 1, 8192, 30.0),
            case("eps decides", 2, 64, 1e-3),
            case("one value", 7, 1, 1.0),
        ];
        let zero = RmsNorm {
            rows: 1,
            n: 40,
            eps: 1e-6,
        };
        let data = vec![Data::f32(&[0.0; 40]), Data::f32(&[1.0; 40]), Data::Out(40)];
        cases.push(Case::new("zero", zero, data));
        cases
    }
}

/// The gated activation of LLaMA's MLP: `y = silu(gate) * up`, `silu(g) = g / (1 + exp(-g))`.
///
/// Bindings: `x` [rows, 2 n] f32, a row being `[gate | up]`; `y` [rows, n] f32.
#[derive(Debug, Clone)]
pub struct SwiGlu {
    /// Tokens.
    pub rows: usize,
    /// Values of the gate.
    pub n: usize,
}

/// Uniform block of [`SwiGlu`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct SwiGluParams {
    rows: u32,
    n: u32,
}

impl Op for SwiGlu {
    const NAME: &'static str = "swiglu";
    const SHADERS: &'static [Shader] = &[shader!(Needs::NONE, "swiglu")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::F32)];
    // exp may be off by 3 + 2 |g| ULP, but where that is much, exp(-|g|) is too small to count
    const AGREE: Agree = Agree::Nmse(1e-13);
    type Params = SwiGluParams;

    fn params(&self) -> SwiGluParams {
        SwiGluParams {
            rows: self.rows as u32,
            n: self.n as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.rows * self.n).div_ceil(WIDTH) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![2 * self.rows * self.n, self.rows * self.n]
    }

    fn cost(&self) -> Cost {
        let n = (self.rows * self.n) as f64;
        Cost {
            bytes: 12.0 * n,
            ops: 5.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let x: &[f32] = b.read(0);
        let y: &mut [f32] = b.write(1);
        for (x, y) in x
            .chunks_exact(2 * self.n)
            .zip(y.chunks_exact_mut(self.n))
            .take(self.rows)
        {
            let (gate, up) = x.split_at(self.n);
            for ((y, &g), &u) in y.iter_mut().zip(gate).zip(up) {
                let (g, u) = (f64::from(g), f64::from(u));
                *y = (g / (1.0 + (-g).exp()) * u) as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let x: &[f32] = b.read(0);
        let y: &mut [f32] = b.write(1);
        let rows = x.chunks_exact(2 * self.n).zip(y.chunks_exact_mut(self.n));
        // a nanosecond per value
        super::host::each_worth(rows.take(self.rows).collect(), self.n, |(x, y)| {
            let (gate, up) = x.split_at(self.n);
            super::vector::gated(gate, up, y);
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        large::swi_glu()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, rows, n, x: Vec<f32>| {
            let data = vec![Data::f32(&x), Data::Out(rows * n)];
            Case::new(name, SwiGlu { rows, n }, data)
        };
        let extremes = [
            1e4f32,
            -1e4,
            104.0,
            -104.0,
            88.8,
            -88.8,
            -87.3,
            17.0,
            -17.0,
            0.0,
            -0.0,
            1e-30,
            -1e-30,
            3e38,
            -3e38,
            f32::MIN_POSITIVE,
        ];
        let mut x = extremes.to_vec();
        x.extend([0.5; 16]);
        vec![
            case("several rows", 3, 172, noise(31, 3 * 344, 6.0)),
            case("odd width", 2, 301, noise(32, 2 * 602, 1.0)),
            case("large gates", 1, 1000, noise(33, 2000, 40.0)),
            case("one value", 5, 1, noise(34, 10, 3.0)),
            case("extreme gates", 1, 16, x),
        ]
    }
}
