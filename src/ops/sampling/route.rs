//! Choosing the experts of a token.

use crate::ops::*;

/// Most experts.
pub const MAX_EXPERTS: usize = 2048;

/// Chooses experts for each token: the softmax of their scores, the largest `chosen` of it, best first, the first one of equals;
/// with `normalized` divided by their sum.
///
/// Bindings: `scores` [tokens, experts] f32; `ids` [tokens, chosen] u32; `weights` [tokens, chosen] f32.
#[derive(Debug, Clone)]
pub struct Route {
    /// Tokens.
    pub tokens: usize,
    /// Experts, at most [`MAX_EXPERTS`].
    pub experts: usize,
    /// How many a token goes through.
    pub chosen: usize,
    /// Whether the weights of the chosen ones sum to 1.
    pub normalized: bool,
}

params! {
    /// Uniform block of [`Route`].
    pub struct RouteParams {
        tokens: u32,
        experts: u32,
        chosen: u32,
        normalized: u32,
    }
}

impl Op for Route {
    const NAME: &'static str = "route";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, sampling / "route")];
    const BINDINGS: &'static [Binding] = &[
        read("scores", Elem::F32),
        write("ids", Elem::U32),
        write("weights", Elem::F32),
    ];
    // ids are equal; exponentials are off by some ULP, and their sum by half of one for each expert
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = RouteParams;

    fn shape(&self) -> String {
        let Self {
            tokens,
            experts,
            chosen,
            ..
        } = self;
        let normalized = if self.normalized { ",normalized=1" } else { "" };
        format!("tokens={tokens},experts={experts},chosen={chosen}{normalized}")
    }

    fn params(&self) -> RouteParams {
        RouteParams {
            tokens: self.tokens as u32,
            experts: self.experts as u32,
            chosen: self.chosen as u32,
            normalized: self.normalized.into(),
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.tokens as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let chosen = self.tokens * self.chosen;
        vec![self.tokens * self.experts, chosen, chosen]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * (self.tokens * (self.experts + 2 * self.chosen)) as f64,
            ops: (self.tokens * self.experts * (self.chosen + 2)) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let scores: Vec<f32> = b.read(0).to_vec();
        let (n, k) = (self.experts, self.chosen);
        let mut chosen = Vec::with_capacity(self.tokens * k);
        for scores in scores.chunks_exact(n).take(self.tokens) {
            let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let each = scores
                .iter()
                .map(|&s| (f64::from(s) - f64::from(top)).exp());
            let each: Vec<f64> = each.collect();
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
            order.truncate(k);
            let sum: f64 = match self.normalized {
                true => order.iter().map(|&e| each[e]).sum(),
                false => each.iter().sum(),
            };
            chosen.extend(order.iter().map(|&e| (e as u32, (each[e] / sum) as f32)));
        }
        let ids: &mut [u32] = b.write(1);
        ids.iter_mut().zip(&chosen).for_each(|(id, c)| *id = c.0);
        let weights: &mut [f32] = b.write(2);
        weights.iter_mut().zip(&chosen).for_each(|(w, c)| *w = c.1);
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |tokens, experts, chosen, normalized, step: f32| {
            let op = Self {
                tokens,
                experts,
                chosen,
                normalized,
            };
            let scores = noise(159, tokens * experts, 3.0);
            // a coarse grid makes equal scores
            let scores: Vec<f32> = scores.iter().map(|s| (s / step).floor() * step).collect();
            let lengths = op.lengths();
            let data = vec![
                Data::f32(&scores),
                Data::Out(lengths[1]),
                Data::Out(lengths[2]),
            ];
            Case::new(format!("step={step}"), op, data)
        };
        vec![
            case(3, 8, 2, true, 1e-6),
            case(2, 300, 8, false, 1e-6),
            case(2, 128, 8, true, 0.5),
            case(1, 4, 4, true, 1e-6),
        ]
    }
}
