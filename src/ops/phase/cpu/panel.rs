//! What surrounds a kernel: panels of codes, exact scaling, threads.

use super::bands::{Band, bands};
use super::scale::{BitSums, PLAIN, Scales, Totals, power_of_two};
use super::{CodeLayout, Inputs, PhaseShape};
use std::ops::Range;

/// Tokens that are processed together at least.
const LEAST_TOKENS: usize = 8;

/// Rows of codes, `[count, words, planes]`.
pub(super) struct Rows<'a> {
    pub codes: &'a [u32],
    pub count: usize,
    pub words: usize,
    pub planes: usize,
}

/// A vector kernel with `L` lanes: those of a plane are neighbours.
pub(super) trait Lanes<const L: usize>: Copy + Send + Sync {
    /// The codes of a panel's rows as the kernel reads them.
    type Codes: ?Sized;

    /// Where rows are brought into that order.
    type Packed: Default;

    /// The activations as the kernel reads them, made once for all rows.
    type Factors<'a>: Sync;

    fn factors<'a>(self, acts: Acts<'a>, tokens: usize) -> Self::Factors<'a>;

    /// Codes of at most `L / planes` rows, at least one.
    fn pack<'p>(self, rows: &Rows<'_>, packed: &'p mut Self::Packed) -> &'p Self::Codes;

    /// The codes of a panel that lies as the kernel reads it ([`super::Kernel::layout`]); none of kernels without such a layout.
    fn laid(codes: &[u32]) -> Option<&Self::Codes>;

    /// Tokens whose factors should stay in a cache while all rows are processed; the activations of one token take `bytes`.
    fn together(self, bytes: usize) -> usize {
        (512 << 10) / bytes
    }

    /// Tokens whose sums fit into registers together.
    fn tokens(self, byte_planes: usize) -> usize;

    /// Sums over `words`, for the tokens from `first` on, one per element of `out`. At most [`Self::tokens`] of them.
    fn sums(
        self,
        codes: &Self::Codes,
        factors: &Self::Factors<'_>,
        words: Range<usize>,
        first: usize,
        out: &mut [BitSums<L>],
    );

    /// [`Totals::values`], compiled for the kernel's instructions.
    fn values(self, totals: &Totals<'_, L>, out: &mut [[f32; L]; 2]);
}

/// Rounded activations: per token the byte planes re, im (8 bit) or re high, re low, im high, im low, each
/// `words` times 16 columns.
#[derive(Clone, Copy)]
pub(super) struct Acts<'a> {
    pub q: &'a [[u32; 4]],
    pub words: usize,
    /// Byte planes of an activation: 1 or 2.
    pub byte_planes: usize,
}

impl<'a> Acts<'a> {
    /// Words `word..word + count` of a byte plane of the real (0) or imaginary (1) parts of a token.
    #[inline(always)]
    pub(super) fn plane(
        &self,
        token: usize,
        half: usize,
        plane: usize,
        word: usize,
        count: usize,
    ) -> &'a [[u32; 4]] {
        let first = ((token * 2 + half) * self.byte_planes + plane) * self.words + word;
        &self.q[first..first + count]
    }

    /// All byte planes of a token at `count` words from `word` on: `[re, im][plane]`.
    #[cfg(any(
        target_arch = "aarch64",
        all(target_arch = "wasm32", target_feature = "simd128")
    ))]
    #[inline(always)]
    pub(super) fn token<const P: usize>(
        &self,
        token: usize,
        word: usize,
        count: usize,
    ) -> [[&'a [[u32; 4]]; P]; 2] {
        // loops: array functions would not be inlined where this is compiled for vector instructions
        let mut all = [[&self.q[..0]; P]; 2];
        for (half, planes) in all.iter_mut().enumerate() {
            for (p, plane) in planes.iter_mut().enumerate() {
                *plane = self.plane(token, half, p, word, count);
            }
        }
        all
    }

    /// Sum of the real (0) or imaginary (1) parts of a token in a range of words.
    fn total(&self, token: usize, half: usize, range: &Range<usize>) -> i32 {
        let plane = |p| {
            let words = self.plane(token, half, p, range.start, range.len());
            bytemuck::cast_slice::<_, u8>(words)
        };
        let first: i32 = plane(0).iter().map(|&b| i32::from(b as i8)).sum();
        if self.byte_planes == 1 {
            return first;
        }
        first * 256 + plane(1).iter().map(|&b| i32::from(b)).sum::<i32>()
    }
}

/// Everything that threads share.
struct Job<'a, K: Lanes<L>, const L: usize> {
    kernel: K,
    inputs: Inputs<'a>,
    acts: Acts<'a>,
    factors: K::Factors<'a>,
    /// Words of each group of columns.
    groups: Vec<Range<usize>>,
    /// Sums of all activations, `[rows, groups]`.
    all: Vec<[i32; 2]>,
}

impl<'a, K: Lanes<L>, const L: usize> Job<'a, K, L> {
    fn new(kernel: K, inputs: &Inputs<'a>) -> Self {
        let shape = inputs.shape;
        let words = shape.words();
        let acts = Acts {
            q: inputs.q.as_chunks().0,
            words,
            byte_planes: inputs.mode.byte_planes(),
        };
        let step = shape.group_words.min(words).max(1);
        let groups: Vec<_> = (0..words)
            .step_by(step)
            .map(|w| w..(w + step).min(words))
            .collect();
        let all = (0..shape.tokens)
            .flat_map(|token| groups.iter().map(move |g| (token, g)))
            .map(|(token, g)| [0, 1].map(|half| acts.total(token, half, g)))
            .collect();
        Self {
            kernel,
            inputs: *inputs,
            acts,
            factors: kernel.factors(acts, shape.tokens),
            groups,
            all,
        }
    }
}

/// The product with a kernel of `L` lanes, for as many tokens at a time as the kernel wants.
pub(super) fn product<const L: usize>(kernel: impl Lanes<L>, inputs: &Inputs<'_>, y: &mut [f32]) {
    let shape = inputs.shape;
    // bytes and words of a token
    let bytes = 2 * inputs.mode.byte_planes() * shape.words() * 16;
    let (words, outputs) = (bytes / 4, shape.outputs());
    let scales = shape.form.token_scales();
    let most = kernel.together(bytes.max(1)).max(LEAST_TOKENS);
    if shape.tokens <= most {
        return product_of(kernel, inputs, y);
    }
    for first in (0..shape.tokens).step_by(most) {
        let tokens = first..(first + most).min(shape.tokens);
        let shape = PhaseShape {
            tokens: tokens.len(),
            ..shape.clone()
        };
        let inputs = Inputs {
            shape: &shape,
            q: &inputs.q[first * words..tokens.end * words],
            absmax: &inputs.absmax[first * scales..tokens.end * scales],
            ..*inputs
        };
        let y = &mut y[first * outputs..tokens.end * outputs];
        product_of(kernel, &inputs, y);
    }
}

/// On all threads when it is worth it.
fn product_of<const L: usize>(kernel: impl Lanes<L>, inputs: &Inputs<'_>, y: &mut [f32]) {
    let shape = inputs.shape;
    let job = Job::new(kernel, inputs);
    let work = shape.words() * shape.planes() * shape.shard_rows * shape.tokens;
    // a word of 16 codes times a token takes half a nanosecond or more
    let threads = crate::ops::cpu::pieces(work / 2);
    let panel = L / shape.planes();
    let unit = whole_runs(panel, shape.half_run);
    let most = shape.shard_rows.div_ceil(threads).next_multiple_of(unit);
    let bands = bands(shape, most.max(unit), y);
    if threads == 1 {
        // stacked layers are several bands all the same
        return bands.into_iter().for_each(|band| run(&job, band));
    }
    crate::ops::cpu::each(bands, |band| run(&job, band));
}

/// The least number of rows that is whole panels and, where outputs come in runs, whole runs.
fn whole_runs(panel: usize, run: usize) -> usize {
    let mut rows = panel;
    while run > 0 && !rows.is_multiple_of(run) {
        rows += panel;
    }
    rows
}

/// Computes all rows of a band.
fn run<K: Lanes<L>, const L: usize>(job: &Job<'_, K, L>, mut band: Band<'_>) {
    let shape = job.inputs.shape;
    let mut packed = K::Packed::default();
    let mut panel = Panel::<L>::new(shape);
    let mut first = band.rows.start;
    while first < band.rows.end {
        let rows = job.rows_from(first, band.rows.end);
        let codes = job.codes(&rows, &mut packed);
        panel.load(job, band.segment, &rows);
        panel.multiply(job, codes, first - band.rows.start, &mut band);
        first = rows.rows.end;
    }
}

/// Rows of one panel that are wanted.
struct PanelRows {
    /// Rows of the panel before them.
    skipped: usize,
    /// Rows of the shard.
    rows: Range<usize>,
}

impl<K: Lanes<L>, const L: usize> Job<'_, K, L> {
    /// The rows from `first` on that one panel has, before `end`.
    fn rows_from(&self, first: usize, end: usize) -> PanelRows {
        let shape = self.inputs.shape;
        // panels of rows that are packed here begin wherever a band does
        let skipped = match shape.layout {
            CodeLayout::Rows => 0,
            CodeLayout::Words { .. } | CodeLayout::Bytes => shape.row_in_panel(first),
        };
        let most = L / shape.planes() - skipped;
        PanelRows {
            skipped,
            rows: first..(first + most).min(end),
        }
    }

    /// The codes of a panel, where they lie or in `packed`.
    fn codes<'c>(&'c self, rows: &PanelRows, packed: &'c mut K::Packed) -> &'c K::Codes {
        let (shape, codes) = (self.inputs.shape, self.inputs.codes);
        let (words, planes) = (shape.words(), shape.planes());
        let rows = &rows.rows;
        if shape.layout != CodeLayout::Rows {
            let len = shape.layout.panel_words(planes, words);
            if let Some(codes) = K::laid(&codes[shape.panel_of(rows.start) * len..][..len]) {
                return codes;
            }
        }
        let rows = Rows {
            codes: &codes[rows.start * words * planes..rows.end * words * planes],
            count: rows.len(),
            words,
            planes,
        };
        self.kernel.pack(&rows, packed)
    }
}

/// The scales of the rows that fill the lanes of a kernel, and what becomes of their sums.
struct Panel<const L: usize> {
    scales: Vec<Scales<L>>,
    powers: [i32; L],
    /// `2^powers`, if they are [`PLAIN`].
    steps: [f64; L],
    /// Lanes of rows whose results are wanted.
    wanted: Range<usize>,
    /// Scratch: sums per group and token.
    sums: Vec<BitSums<L>>,
    /// Scratch: results of a token.
    values: [[f32; L]; 2],
    /// The segment whose scales are loaded; scale blocks of rows are loaded anew for every panel.
    loaded: Option<usize>,
}

impl<const L: usize> Panel<L> {
    fn new(shape: &PhaseShape) -> Self {
        Self {
            scales: vec![Scales::EMPTY; shape.groups()],
            powers: [0; L],
            steps: [1.0; L],
            wanted: 0..0,
            sums: Vec::new(),
            values: [[0.0; L]; 2],
            loaded: None,
        }
    }

    /// Loads the scales of a panel.
    fn load<K: Lanes<L>>(&mut self, job: &Job<'_, K, L>, segment: usize, rows: &PanelRows) {
        let shape = job.inputs.shape;
        let PanelRows { skipped, rows } = rows;
        self.wanted = *skipped..skipped + rows.len();
        if !shape.per_row && self.loaded == Some(segment) {
            return;
        }
        self.loaded = Some(segment);
        let lanes = L / shape.planes();
        for row in 0..lanes {
            let block = if shape.per_row {
                // lanes of other rows have any scales
                let row = (rows.start + row).saturating_sub(*skipped);
                shape.first_row + row.clamp(rows.start, rows.end - 1)
            } else {
                segment
            };
            let block = &job.inputs.scale_blocks[block * shape.scale_block_words()..]
                [..shape.scale_block_words()];
            let power = block[0] as i32;
            self.powers[row] = power;
            self.steps[row] = if PLAIN.contains(&power) {
                power_of_two(power)
            } else {
                1.0
            };
            self.scale_row(shape, row, &block[1..]);
        }
    }

    fn scale_row(&mut self, shape: &PhaseShape, row: usize, block: &[u32]) {
        let planes = shape.planes();
        for (scales, block) in self.scales.iter_mut().zip(block.chunks_exact(2 * planes)) {
            for (plane, m) in block.chunks_exact(2).enumerate() {
                let conj = shape.conjugates(plane);
                let lane = plane * (L / planes) + row;
                scales.set(lane, m[0] as i32, m[1] as i32, conj);
            }
        }
    }

    /// Multiplies with all tokens; the first row that is wanted is row `first_row` of `band`.
    fn multiply<K: Lanes<L>>(
        &mut self,
        job: &Job<'_, K, L>,
        codes: &K::Codes,
        first_row: usize,
        band: &mut Band<'_>,
    ) {
        let kernel = job.kernel;
        let (form, accumulate) = (job.inputs.shape.form, job.inputs.shape.accumulate);
        let scales = form.token_scales();
        let (most, groups) = (kernel.tokens(job.acts.byte_planes), job.groups.len());
        let plain = self.powers.iter().all(|p| PLAIN.contains(p));
        self.sums.resize(most * groups, [[0; L]; 4]);
        let tokens = job.inputs.shape.tokens;
        for first in (0..tokens).step_by(most) {
            let count = most.min(tokens - first);
            for (words, sums) in job.groups.iter().zip(self.sums.chunks_exact_mut(most)) {
                let (words, out) = (words.clone(), &mut sums[..count]);
                kernel.sums(codes, &job.factors, words, first, out);
            }
            for token in first..first + count {
                let totals = Totals {
                    sums: &self.sums,
                    token: token - first,
                    stride: most,
                    all: &job.all[token * groups..][..groups],
                    scales: &self.scales,
                    planes: job.inputs.shape.planes(),
                    form,
                    factors: &job.inputs.absmax[token * scales..][..scales],
                    powers: &self.powers,
                    steps: &self.steps,
                    plain,
                };
                kernel.values(&totals, &mut self.values);
                for (half, values) in self.values.iter().enumerate() {
                    let values = &values[self.wanted.clone()];
                    band.each_slice(token, half, first_row, values, |y, values| {
                        store(accumulate, y, values);
                    });
                }
            }
        }
    }
}

/// Stores or adds as many values as `y` has (an imaginary half may be missing).
fn store(accumulate: bool, y: &mut [f32], values: &[f32]) {
    for (y, value) in y.iter_mut().zip(values) {
        *y = if accumulate { *y + value } else { *value };
    }
}
