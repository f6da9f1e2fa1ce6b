//! What surrounds a kernel: panels of codes, exact scaling, threads.

use super::bands::{Band, bands};
use super::scale::{PLAIN, Scales, Totals, power_of_two};
use super::{Inputs, PhaseShape, transposed};
use std::ops::Range;

/// Sums of one panel and token: per lane the activations where bit 0 of the code is set, where bit 1 is set; of
/// the real parts, then of the imaginary parts.
pub(super) type Planes<const L: usize> = [[i32; L]; 4];

/// Most tokens a kernel may take at a time.
pub(super) const MOST_TOKENS: usize = 8;

/// A vector kernel with `L` lanes.
pub(super) trait Lanes<const L: usize>: Copy + Send + Sync {
    /// Tokens whose sums fit into registers together.
    fn tokens(self, planes: usize) -> usize;

    /// Sums over the words of `codes`, for the tokens from `first` on, one per element of `out`; `word` is the
    /// place of `codes[0]` in a row. At most [`Self::tokens`] of them.
    fn sums(
        self,
        codes: &[[u32; L]],
        acts: &Acts<'_>,
        first: usize,
        word: usize,
        out: &mut [Planes<L>],
    );

    /// [`words_of_terms`], compiled for the kernel's instructions.
    fn words_of_terms(self, codes: &mut [[u32; L]]);

    /// [`Totals::values`], compiled for the kernel's instructions.
    fn values(self, totals: &Totals<'_, L>) -> [[f32; L]; 2];
}

/// From a byte a column to a word a term, in all lanes.
#[inline(always)]
pub(super) fn words_of_terms<const L: usize>(codes: &mut [[u32; L]]) {
    for four in codes.as_flattened_mut().as_chunks_mut::<4>().0 {
        *four = transposed(*four);
    }
}

/// Rounded activations: per token the byte planes re, im (8 bit) or re high, re low, im high, im low, each
/// `words` times 16 columns.
#[derive(Clone, Copy)]
pub(super) struct Acts<'a> {
    pub q: &'a [[u32; 4]],
    words: usize,
    /// Bytes of an activation.
    pub planes: usize,
}

impl<'a> Acts<'a> {
    /// Words `word..word + count` of a byte plane of the real (0) or imaginary (1) parts of a token.
    #[inline(always)]
    fn plane(
        &self,
        token: usize,
        part: usize,
        plane: usize,
        word: usize,
        count: usize,
    ) -> &'a [[u32; 4]] {
        let at = ((token * 2 + part) * self.planes + plane) * self.words + word;
        &self.q[at..at + count]
    }

    /// All byte planes of a token at `count` words from `word` on: `[re, im][plane]`.
    #[inline(always)]
    pub fn token<const P: usize>(
        &self,
        token: usize,
        word: usize,
        count: usize,
    ) -> [[&'a [[u32; 4]]; P]; 2] {
        // loops: array functions would not be inlined where this is compiled for vector instructions
        let mut all = [[&self.q[..0]; P]; 2];
        for (part, planes) in all.iter_mut().enumerate() {
            for (p, plane) in planes.iter_mut().enumerate() {
                *plane = self.plane(token, part, p, word, count);
            }
        }
        all
    }

    /// Sum of the real (0) or imaginary (1) parts of a token in a range of words.
    fn total(&self, token: usize, part: usize, range: &Range<usize>) -> i32 {
        let plane = |p| {
            let words = self.plane(token, part, p, range.start, range.len());
            bytemuck::cast_slice::<_, u8>(words)
        };
        let first: i32 = plane(0).iter().map(|&b| i32::from(b as i8)).sum();
        if self.planes == 1 {
            return first;
        }
        first * 256 + plane(1).iter().map(|&b| i32::from(b)).sum::<i32>()
    }
}

/// Everything a thread needs to know.
struct Job<'a> {
    inputs: Inputs<'a>,
    acts: Acts<'a>,
    /// Words of each group of columns.
    groups: Vec<Range<usize>>,
    /// Sums of all activations, `[rows, groups]`.
    all: Vec<[i32; 2]>,
}

impl<'a> Job<'a> {
    fn new(inputs: &Inputs<'a>) -> Self {
        let shape = inputs.shape;
        let words = shape.words();
        let acts = Acts {
            q: inputs.q.as_chunks().0,
            words,
            planes: inputs.mode.planes(),
        };
        let step = shape.group_words.min(words).max(1);
        let groups: Vec<_> = (0..words)
            .step_by(step)
            .map(|w| w..(w + step).min(words))
            .collect();
        let all = (0..shape.rows)
            .flat_map(|token| groups.iter().map(move |g| (token, g)))
            .map(|(token, g)| [0, 1].map(|part| acts.total(token, part, g)))
            .collect();
        Self {
            inputs: *inputs,
            acts,
            groups,
            all,
        }
    }
}

/// Bytes of activations that should stay in the second-level cache while rows pass by.
const CACHED: usize = 512 << 10;

/// The product with a kernel of `L` lanes, on all threads when it is worth it.
pub(super) fn product<const L: usize>(kernel: impl Lanes<L>, inputs: &Inputs<'_>, y: &mut [f32]) {
    let shape = inputs.shape;
    let job = Job::new(inputs);
    let work = shape.words() * shape.terms() * shape.piece_rows * shape.rows;
    // a word of 16 codes times a token takes half a nanosecond or more
    let pieces = crate::ops::host::pieces(work / 2);
    let panel = L / shape.terms();
    let most = shape.piece_rows.div_ceil(pieces).next_multiple_of(panel);
    let bands = bands(shape, most.max(panel), y);
    if pieces == 1 {
        // stacked layers are several bands all the same
        return bands.into_iter().for_each(|band| run(kernel, &job, band));
    }
    crate::ops::host::each(bands, |band| run(kernel, &job, band));
}

/// All tokens of a band, as many at a time as the cache holds.
fn run<const L: usize>(kernel: impl Lanes<L>, job: &Job<'_>, mut band: Band<'_>) {
    let shape = job.inputs.shape;
    let rows = L / shape.terms();
    let bytes = 2 * job.acts.planes * shape.words() * 16;
    let tokens = (CACHED / bytes.max(1)).max(MOST_TOKENS);
    let mut panel = Panel::new(shape);
    for first in (0..shape.rows).step_by(tokens) {
        let tokens = first..(first + tokens).min(shape.rows);
        for start in band.rows.clone().step_by(rows) {
            let end = (start + rows).min(band.rows.end);
            panel.load(kernel, job, band.segment, start..end);
            panel.multiply(
                kernel,
                job,
                tokens.clone(),
                start - band.rows.start,
                &mut band.y,
            );
        }
    }
}

/// Codes and scales of the rows that fill the lanes of a kernel: lane `row * terms + term`.
struct Panel<const L: usize> {
    codes: Vec<[u32; L]>,
    scales: Vec<Scales<L>>,
    powers: [i32; L],
    /// `2^powers`, if they are [`PLAIN`].
    steps: [f64; L],
    rows: usize,
    /// Scratch: sums per group and token.
    sums: Vec<Planes<L>>,
    /// The segment whose scales are loaded; cells per row are loaded anew for every panel.
    loaded: Option<usize>,
}

impl<const L: usize> Panel<L> {
    fn new(shape: &PhaseShape) -> Self {
        Self {
            codes: vec![[0; L]; shape.words()],
            scales: vec![Scales::EMPTY; shape.groups()],
            powers: [0; L],
            steps: [1.0; L],
            rows: 0,
            sums: Vec::new(),
            loaded: None,
        }
    }

    fn load(&mut self, kernel: impl Lanes<L>, job: &Job<'_>, segment: usize, rows: Range<usize>) {
        let shape = job.inputs.shape;
        self.rows = rows.len();
        match shape.terms() {
            2 => self.pack::<2>(job, &rows),
            4 => self.pack::<4>(job, &rows),
            6 => self.pack::<6>(job, &rows),
            _ => self.pack::<8>(job, &rows),
        }
        if shape.terms().is_multiple_of(4) {
            kernel.words_of_terms(&mut self.codes);
        }
        if !shape.per_row && self.loaded == Some(segment) {
            return;
        }
        self.loaded = Some(segment);
        let lanes = L / shape.terms();
        for row in 0..lanes {
            let cell = if shape.per_row {
                shape.first_row + (rows.start + row).min(rows.end - 1)
            } else {
                segment
            };
            let cell = &job.inputs.cells[cell * shape.cell_words()..][..shape.cell_words()];
            let power = cell[0] as i32;
            self.powers[row] = power;
            self.steps[row] = if PLAIN.contains(&power) {
                power_of_two(power)
            } else {
                1.0
            };
            self.scale_row(shape, row, &cell[1..]);
        }
    }

    fn scale_row(&mut self, shape: &PhaseShape, row: usize, cell: &[u32]) {
        let terms = shape.terms();
        for (scales, cell) in self.scales.iter_mut().zip(cell.chunks_exact(2 * terms)) {
            for (term, m) in cell.chunks_exact(2).enumerate() {
                let conj = term >= shape.stages;
                scales.set(row * terms + term, m[0] as i32, m[1] as i32, conj);
            }
        }
    }

    /// Copies rows of codes, `[words, T]` each, side by side; lanes of missing rows keep what they had.
    fn pack<const T: usize>(&mut self, job: &Job<'_>, rows: &Range<usize>) {
        let words = self.codes.len();
        for (i, row) in rows.clone().enumerate() {
            let from = &job.inputs.codes[row * words * T..][..words * T];
            let (from, from_rest) = from.as_chunks::<T>().0.as_chunks::<4>();
            let (to, to_rest) = self.codes.as_chunks_mut::<4>();
            for (to, from) in to.iter_mut().zip(from) {
                for word in 0..4 {
                    to[word].as_chunks_mut::<T>().0[i] = from[word];
                }
            }
            for (to, from) in to_rest.iter_mut().zip(from_rest) {
                to.as_chunks_mut::<T>().0[i] = *from;
            }
        }
    }

    /// Multiplies with `tokens`; the first row of the panel is row `at` of the band whose places are `y`.
    fn multiply(
        &mut self,
        kernel: impl Lanes<L>,
        job: &Job<'_>,
        tokens: Range<usize>,
        at: usize,
        y: &mut [[&mut [f32]; 2]],
    ) {
        let (most, groups) = (kernel.tokens(job.acts.planes), job.groups.len());
        let plain = self.powers.iter().all(|p| PLAIN.contains(p));
        self.sums.resize(most * groups, [[0; L]; 4]);
        for first in tokens.clone().step_by(most) {
            let count = most.min(tokens.end - first);
            for (words, sums) in job.groups.iter().zip(self.sums.chunks_exact_mut(most)) {
                let codes = &self.codes[words.clone()];
                kernel.sums(codes, &job.acts, first, words.start, &mut sums[..count]);
            }
            for token in first..first + count {
                let values = kernel.values(&Totals {
                    sums: &self.sums,
                    place: token - first,
                    stride: most,
                    all: &job.all[token * groups..][..groups],
                    scales: &self.scales,
                    terms: job.inputs.shape.terms(),
                    factor: job.inputs.absmax[token],
                    powers: &self.powers,
                    steps: &self.steps,
                    plain,
                });
                for (y, values) in y[token].iter_mut().zip(&values) {
                    let accumulate = job.inputs.shape.accumulate;
                    store(accumulate, &mut y[at..], &values[..self.rows]);
                }
            }
        }
    }
}

/// Stores or adds as many values as there are places (an imaginary part may be missing).
fn store(accumulate: bool, y: &mut [f32], values: &[f32]) {
    for (y, value) in y.iter_mut().zip(values) {
        *y = if accumulate { *y + value } else { *value };
    }
}
