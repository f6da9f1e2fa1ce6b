//! Layers of the model in f64, and AdamW.

/// AdamW of the fixtures.
pub const RATE: f64 = 1e-3;
pub const DECAY: f64 = 0.1;
pub const BETAS: [f64; 2] = [0.9, 0.95];
pub const EPS: f64 = 1e-8;
pub const CLIP: f64 = 2.0;

/// A weight `[rows, columns]` (a norm has one row) in training.
#[derive(Clone)]
pub struct Parameter {
    pub columns: usize,
    pub value: Vec<f64>,
    /// The value as the forward pass sees it.
    pub seen: Vec<f64>,
    pub gradient: Vec<f64>,
    moments: [Vec<f64>; 2],
}

impl Parameter {
    pub fn new(columns: usize, value: Vec<f64>) -> Self {
        let zeros = vec![0.0; value.len()];
        Self {
            columns,
            seen: value.clone(),
            gradient: zeros.clone(),
            moments: [zeros.clone(), zeros],
            value,
        }
    }

    pub fn rows(&self) -> usize {
        self.value.len() / self.columns
    }

    /// `y = x W^T`.
    pub fn apply(&self, x: &[f64]) -> Vec<f64> {
        let mut y = Vec::with_capacity(x.len() / self.columns * self.rows());
        for x in x.chunks_exact(self.columns) {
            y.extend(self.seen.chunks_exact(self.columns).map(|w| dot(x, w)));
        }
        y
    }

    /// Adds to the gradient of [`Parameter::apply`]; returns that of `x`. It goes straight through the quantizer.
    pub fn back(&mut self, x: &[f64], dy: &[f64]) -> Vec<f64> {
        let mut dx = vec![0.0; x.len()];
        let tokens = x
            .chunks_exact(self.columns)
            .zip(dy.chunks_exact(self.rows()));
        for ((x, dy), dx) in tokens.zip(dx.chunks_exact_mut(self.columns)) {
            for (o, &d) in dy.iter().enumerate() {
                let row = o * self.columns..(o + 1) * self.columns;
                add(&mut self.gradient[row.clone()], d, x);
                add(dx, d, &self.seen[row]);
            }
        }
        dx
    }

    pub fn update(&mut self, factor: f64, step: i32) {
        let [first, second] = &mut self.moments;
        let rest = BETAS.map(|beta| 1.0 - beta.powi(step));
        for (i, value) in self.value.iter_mut().enumerate() {
            let g = self.gradient[i] * factor;
            first[i] = BETAS[0] * first[i] + (1.0 - BETAS[0]) * g;
            second[i] = BETAS[1] * second[i] + (1.0 - BETAS[1]) * g * g;
            let root = (second[i] / rest[1]).sqrt() + EPS;
            *value -= RATE * (DECAY * *value + first[i] / rest[0] / root);
        }
        self.gradient.fill(0.0);
    }
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `y += factor x`.
pub fn add(y: &mut [f64], factor: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

/// `x w / rms(x)` per token.
pub fn norm(x: &[f64], w: &Parameter, eps: f64) -> Vec<f64> {
    let each = |x: &[f64]| {
        let inverse = (dot(x, x) / x.len() as f64 + eps).sqrt().recip();
        let values = x.iter().zip(&w.value).map(|(x, w)| x * w * inverse);
        values.collect::<Vec<_>>()
    };
    x.chunks_exact(w.columns).flat_map(each).collect()
}

/// Gradient of [`norm`].
pub fn norm_back(x: &[f64], w: &mut Parameter, eps: f64, dy: &[f64]) -> Vec<f64> {
    let n = w.columns;
    let mut dx = Vec::with_capacity(x.len());
    for (x, dy) in x.chunks_exact(n).zip(dy.chunks_exact(n)) {
        let inverse = (dot(x, x) / n as f64 + eps).sqrt().recip();
        let g: Vec<f64> = dy.iter().zip(&w.value).map(|(d, w)| d * w).collect();
        let along = dot(&g, x) * inverse.powi(3) / n as f64;
        dx.extend(g.iter().zip(x).map(|(g, x)| g * inverse - x * along));
        for (i, d) in dy.iter().enumerate() {
            w.gradient[i] += d * x[i] * inverse;
        }
    }
    dx
}

pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub fn softmax(x: &mut [f64]) {
    let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    x.iter_mut().for_each(|x| *x = (*x - top).exp());
    let sum: f64 = x.iter().sum();
    x.iter_mut().for_each(|x| *x /= sum);
}
