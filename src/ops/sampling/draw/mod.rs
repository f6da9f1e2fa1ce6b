//! Drawing by integers, which give the same token on every device: the twin of `shaders/lib/draw.wgsl`.
//!
//! A token's distance says how many octaves its probability lies below that of the best one, in units of 2^-27; its weight
//! is 2^31 times 2 to the power of minus that. Tokens stand in the order of (distance, id). Each filter keeps a prefix of
//! them, which its sum of weights names, and the random number scales the smallest of these sums.

/// The greatest distance that has a weight.
const LAST: u32 = 0xf800_0000;
/// The distance of what is never drawn.
const NEVER: u32 = u32::MAX;
/// A top-p that keeps everything.
const ALL: u32 = u32::MAX;
/// Rows with a larger k, or none, are drawn by [`super::SampleAll`].
pub(super) const MOST_K: usize = 256;

/// How one row draws. Filters see tempered probabilities, in the order of transformers and vLLM: temperature, top-k, top-p,
/// min-p. (llama.cpp divides by the temperature behind the filters.)
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrawSettings {
    /// How many of the best tokens stay, and all that are as good as the last of them; 0 keeps all.
    pub k: usize,
    /// What logits are divided by; 0 takes the best one, whatever the rest says. What is beyond 2^-64 to 2^64 is the next
    /// of these bounds.
    pub temperature: f32,
    /// The smallest set of the best tokens stays whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Least probability of a token, as a fraction of the best one's.
    pub min_p: f32,
}

impl DrawSettings {
    /// Words of a row of `settings`.
    pub const WORDS: usize = 4;

    /// What the kernels read: `2^27 log2 e / temperature` as f32, infinite for a temperature of 0; top-p in units of 2^-32;
    /// the greatest distance that min-p keeps; k.
    pub fn words(&self) -> [u32; Self::WORDS] {
        let bound = 2f64.powi(64);
        let temperature = f64::from(self.temperature).clamp(1.0 / bound, bound);
        let rate = match self.temperature == 0.0 {
            true => f32::INFINITY,
            false => (2f64.powi(27) * std::f64::consts::LOG2_E / temperature) as f32,
        };
        // conversions saturate
        let top_p = (f64::from(self.top_p) * 2f64.powi(32)) as u32;
        let k = self.k.min(u32::MAX as usize) as u32;
        [rate.to_bits(), top_p, farthest(self.min_p), k]
    }

    /// How many of the best tokens [`super::Sample`] looks at, so that those as good as the k-th are among them as far as
    /// that reaches: 0 for rows of [`super::SampleAll`]. It depends on the row alone, so that others change nothing.
    pub fn candidates(&self) -> usize {
        let k = u32::try_from(self.k).unwrap_or(u32::MAX);
        match self.temperature == 0.0 {
            true => 1,
            false => candidates_of(k),
        }
    }

    /// The id that `random` draws among `tokens`, (id, logit) in any order; `None` where no logit is a number above minus
    /// infinity. It is what [`super::SampleAll`] draws from the same logits, and [`super::Sample`] from as many of the best
    /// as [`Self::candidates`] says.
    pub fn draw(
        &self,
        tokens: impl Iterator<Item = (u32, f32)> + Clone,
        random: u32,
    ) -> Option<u32> {
        Buckets::new(&self.words(), tokens)?.draw(random)
    }

    /// The tokens that may be drawn among `tokens`, best first, each with its probability.
    pub fn probabilities(
        &self,
        tokens: impl Iterator<Item = (u32, f32)> + Clone,
    ) -> Vec<(u32, f64)> {
        let Some(ranked) = Ranked::new(&self.words(), tokens) else {
            return Vec::new();
        };
        let total = ranked.total;
        let mut before = 0;
        let mut all = Vec::new();
        for (&(_, id), &sum) in ranked.order.iter().zip(&ranked.sums) {
            if before < total {
                all.push((id, (sum - before) as f64 / total as f64));
            }
            before = sum;
        }
        all
    }
}

/// [`DrawSettings::candidates`] of its words.
pub(super) fn candidates(&[rate, _, _, k]: &[u32; DrawSettings::WORDS]) -> usize {
    match f32::from_bits(rate) == f32::INFINITY {
        true => 1,
        false => candidates_of(k),
    }
}

/// The same for a row with this k that is not greedy.
fn candidates_of(k: u32) -> usize {
    match k as usize {
        0 => 0,
        // A few more than are asked for cost the search for them little.
        1..=40 => 64,
        41..=MOST_K => MOST_K,
        _ => 0,
    }
}

/// The greatest distance whose weight is at least `min_p` times that of the best.
fn farthest(min_p: f32) -> u32 {
    let least = (f64::from(min_p) * 2f64.powi(31)).ceil() as u32;
    if least == 0 {
        return NEVER;
    }
    // Weights never rise with the distance.
    let (mut near, mut far) = (0, NEVER);
    while far - near > 1 {
        let middle = near + (far - near) / 2;
        match weight(middle) >= least {
            true => near = middle,
            false => far = middle,
        }
    }
    near
}

/// How far a logit lies below the best one; `rate` in octaves a unit of logits, times 2^27.
fn distance(best: f32, logit: f32, rate: f32) -> u32 {
    if logit.is_nan() || [best, logit].contains(&f32::NEG_INFINITY) {
        return NEVER;
    }
    let distance = (best.min(f32::MAX) - logit.min(f32::MAX)) * rate;
    match distance < 2f32.powi(32) {
        true => distance as u32,
        false => NEVER, // a NaN as well
    }
}

/// The upper half of a product.
fn high(a: u32, b: u32) -> u32 {
    ((u64::from(a) * u64::from(b)) >> 32) as u32
}

/// `2^31 2^-distance`: with the fraction f, `2^-f = 1 - f (c1 - f (c2 - ... f c6))`. The coefficients interpolate it
/// between both ends, and the weight never rises.
fn weight(distance: u32) -> u32 {
    const INNER: u32 = 0x0007_2a98;
    const OTHERS: [u32; 5] = [
        0x0053_9d3b,
        0x0273_defd,
        0x0e34_b15c,
        0x3d7f_5b48,
        0xb172_1646,
    ];
    let f = distance << 5;
    let t = OTHERS.iter().fold(INNER, |t, c| c - high(f, t));
    ((1 << 31) - (high(f, t) >> 1)) >> (distance >> 27)
}

/// `floor(total * part / 2^32)`.
fn scaled(total: u64, part: u32) -> u64 {
    ((u128::from(total) * u128::from(part)) >> 32) as u64
}

/// The greatest sum that is less than `part / 2^32` of the total, or 0: sums above it are enough.
fn enough(total: u64, part: u32) -> u64 {
    if part == ALL {
        return total - 1;
    }
    ((u128::from(total) * u128::from(part)).saturating_sub(1) >> 32) as u64
}

/// The largest logit; none where no logit is a number above minus infinity.
fn best(tokens: impl Iterator<Item = (u32, f32)>) -> Option<f32> {
    let best = tokens.map(|t| t.1).fold(f32::NEG_INFINITY, f32::max);
    (best > f32::NEG_INFINITY).then_some(best)
}

/// What may be drawn, in its order: the plain way.
pub(super) struct Ranked {
    /// (distance, id).
    order: Vec<(u32, u32)>,
    /// Weights up to and with each of them.
    sums: Vec<u64>,
    /// The weights that all filters keep.
    total: u64,
}

impl Ranked {
    pub(super) fn new(
        &[rate, top_p, farthest, k]: &[u32; DrawSettings::WORDS],
        tokens: impl Iterator<Item = (u32, f32)> + Clone,
    ) -> Option<Self> {
        let best = best(tokens.clone())?;
        let rate = f32::from_bits(rate);
        if rate == f32::INFINITY {
            let first = tokens.filter(|t| t.1 == best).map(|t| t.0).min()?;
            let order = vec![(0, first)];
            return Some(Self {
                order,
                sums: vec![1],
                total: 1,
            });
        }
        let order = tokens.map(|(id, logit)| (distance(best, logit, rate), id));
        let mut order: Vec<_> = order.filter(|t| t.0 <= LAST).collect();
        order.sort_unstable();
        let sums = order.iter().scan(0, |sum, t| {
            *sum += u64::from(weight(t.0));
            Some(*sum)
        });
        let sums: Vec<u64> = sums.collect();
        let up_to = |most: u32| sums[order.partition_point(|t| t.0 <= most) - 1];
        let kth = (k as usize).wrapping_sub(1);
        let by_k = up_to(order.get(kth).map_or(LAST, |t| t.0));
        let enough = enough(by_k, top_p);
        let by_p = sums[sums.partition_point(|&sum| sum <= enough)];
        let total = by_k.min(by_p).min(up_to(farthest));
        Some(Self { order, sums, total })
    }

    /// The id that `random` draws.
    pub(super) fn draw(&self, random: u32) -> u32 {
        let number = scaled(self.total, random);
        self.order[self.sums.partition_point(|&sum| sum <= number)].1
    }
}

/// What may be drawn, by the first byte of its distance: a faster [`Ranked`], which sorts few tokens of many.
pub(super) struct Buckets {
    all: Vec<Bucket>,
    /// The weights that all filters keep.
    total: u64,
}

#[derive(Clone, Default)]
struct Bucket {
    /// `distance * 2^32 + id`, in their order once `sorted`.
    tokens: Vec<u64>,
    sorted: bool,
    weight: u64,
}

impl Bucket {
    fn sorted(&mut self) -> &[u64] {
        if !self.sorted {
            self.tokens.sort_unstable();
            self.sorted = true;
        }
        &self.tokens
    }
}

/// The weight of a token in a bucket.
fn weight_of(token: u64) -> u64 {
    weight((token >> 32) as u32).into()
}

impl Buckets {
    pub(super) fn new(
        words: &[u32; DrawSettings::WORDS],
        tokens: impl Iterator<Item = (u32, f32)> + Clone,
    ) -> Option<Self> {
        let &[rate, top_p, farthest, k] = words;
        if f32::from_bits(rate) == f32::INFINITY {
            // The best one alone is ranked at once.
            let id = Ranked::new(words, tokens)?.draw(0);
            let (tokens, sorted, weight) = (vec![u64::from(id)], true, weight_of(0));
            let all = vec![Bucket {
                tokens,
                sorted,
                weight,
            }];
            return Some(Self { all, total: weight });
        }
        let best = best(tokens.clone())?;
        let mut all = vec![Bucket::default(); 256];
        for (id, logit) in tokens {
            let distance = distance(best, logit, f32::from_bits(rate));
            if distance <= LAST {
                let token = u64::from(distance) << 32 | u64::from(id);
                let bucket = &mut all[(distance >> 24) as usize];
                bucket.tokens.push(token);
                bucket.weight += weight_of(token);
            }
        }
        let mut buckets = Self { all, total: 0 };
        let last = (k as usize)
            .checked_sub(1)
            .and_then(|k| buckets.distance(k));
        let by_k = buckets.up_to(last.unwrap_or(LAST));
        let by_p = match top_p {
            ALL => by_k,
            _ => buckets.find(enough(by_k, top_p))?.0,
        };
        buckets.total = by_k.min(by_p).min(buckets.up_to(farthest));
        Some(buckets)
    }

    /// The distance of a token by its place; none where there are fewer.
    fn distance(&mut self, mut place: usize) -> Option<u32> {
        for bucket in &mut self.all {
            if place < bucket.tokens.len() {
                return Some((bucket.sorted()[place] >> 32) as u32);
            }
            place -= bucket.tokens.len();
        }
        None
    }

    /// The weights of all tokens up to a distance.
    fn up_to(&self, most: u32) -> u64 {
        let first = (most >> 24) as usize;
        let whole = self.all.iter().take(first).map(|bucket| bucket.weight);
        let tokens = self.all.get(first).map_or(&[][..], |bucket| &bucket.tokens);
        let near = tokens.iter().filter(|&&token| (token >> 32) as u32 <= most);
        whole.sum::<u64>() + near.map(|&token| weight_of(token)).sum::<u64>()
    }

    /// The token at which the sum of weights passes `number`: the sum with it, and its id.
    fn find(&mut self, number: u64) -> Option<(u64, u32)> {
        let mut sum = 0;
        for bucket in &mut self.all {
            if sum + bucket.weight <= number {
                sum += bucket.weight;
                continue;
            }
            for &token in bucket.sorted() {
                sum += weight_of(token);
                if sum > number {
                    return Some((sum, token as u32));
                }
            }
        }
        None
    }

    /// The id that `random` draws.
    pub(super) fn draw(&mut self, random: u32) -> Option<u32> {
        Some(self.find(scaled(self.total, random))?.1)
    }
}

#[cfg(test)]
mod tests;
