//! Training in f64, written out: forward, backward and AdamW of a small LLaMA through every quantizer.
//!
//! It says what the losses would be without the roundings of f32, and how near the nearest weight came to the border
//! between two codes: where f32 cannot hold the distance, two correct computations may choose different codes.

use fairy2i_gpu::model::{Config, Method, Recipe, rope};
use std::collections::BTreeMap;

/// Name of the embedding matrix.
const EMBED: &str = "model.embed_tokens.weight";

mod codes;
mod parts;

use codes::{Borders, quantized};
pub use codes::{HELD, Near, Weight};
use parts::{Parameter, add, dot, norm, norm_back, sigmoid, softmax};

/// What a step did, before its update.
#[derive(Debug, Clone)]
pub struct Step {
    pub loss: f64,
    pub norm: f64,
    pub nearest: Near,
}

/// What a block's backward pass needs of its forward pass.
struct Block {
    x: Vec<f64>,
    normed: Vec<f64>,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
    /// [heads, tokens, tokens]
    weights: Vec<f64>,
    attended: Vec<f64>,
    middle: Vec<f64>,
    mlp_in: Vec<f64>,
    gate: Vec<f64>,
    up: Vec<f64>,
    active: Vec<f64>,
}

/// A model in training.
#[derive(Clone)]
pub struct Plain {
    config: Config,
    recipe: Recipe,
    parameters: BTreeMap<String, Parameter>,
    /// Name of the head's weight.
    head: String,
    /// (cos, sin) by position and pair; in f32, as checkpoints are trained.
    angles: Vec<f32>,
    steps: i32,
}

impl Plain {
    /// Begins with the tensors that `values` gives by name.
    pub fn new(
        config: &Config,
        recipe: Recipe,
        values: impl Fn(&str) -> Vec<f32>,
        tokens: usize,
    ) -> Self {
        let wide = |name: &str| values(name).into_iter().map(f64::from).collect::<Vec<_>>();
        let mut parameters = BTreeMap::new();
        let embed = Parameter::new(config.hidden, wide(EMBED));
        parameters.insert(EMBED.to_owned(), embed);
        for name in config.norms() {
            let parameter = Parameter::new(config.hidden, wide(&name));
            parameters.insert(name, parameter);
        }
        // the papers' code replaces the head's module where it quantizes it, and with it the tie
        let apart = recipe.method != Method::Full && !recipe.skip_head;
        let tied = config.tied && !apart;
        for layer in config.linears() {
            let head = layer.prefix == Config::HEAD;
            if head && tied {
                continue;
            }
            let parameter =
                Parameter::new(layer.in_features, wide(&config.dense_name(&layer.prefix)));
            parameters.insert(format!("{}.weight", layer.prefix), parameter);
        }
        let head = if tied {
            EMBED.to_owned()
        } else {
            format!("{}.weight", Config::HEAD)
        };
        Self {
            angles: rope::trained_table(&config.rope, config.head_dim, tokens),
            config: config.clone(),
            recipe,
            parameters,
            head,
            steps: 0,
        }
    }

    fn of(&self, layer: usize, name: &str) -> &Parameter {
        &self.parameters[&format!("model.layers.{layer}.{name}.weight")]
    }

    fn of_mut(&mut self, layer: usize, name: &str) -> &mut Parameter {
        let name = format!("model.layers.{layer}.{name}.weight");
        self.parameters
            .get_mut(&name)
            .expect("a name of the configuration")
    }

    /// The weights of the next step that f32 cannot decide.
    pub fn undecided(&mut self) -> Vec<Weight> {
        self.quantize(&[]).1
    }

    /// One step on a sequence that predicts itself. The weights `beyond` take the code beyond their border.
    pub fn step(&mut self, tokens: &[usize], beyond: &[Weight]) -> Step {
        let (nearest, _) = self.quantize(beyond);
        let h = self.config.hidden;
        let embed = &self.parameters[EMBED].value;
        let mut x: Vec<f64> = tokens
            .iter()
            .flat_map(|&t| embed[t * h..(t + 1) * h].to_vec())
            .collect();
        let mut blocks = Vec::new();
        for layer in 0..self.config.layers {
            let (block, out) = self.block(layer, x);
            blocks.push(block);
            x = out;
        }
        let (loss, mut dx) = self.loss(tokens, &x);
        for (layer, block) in blocks.iter().enumerate().rev() {
            dx = self.block_back(layer, block, dx);
        }
        let embed = self.parameters.get_mut(EMBED).expect("there is one");
        for (&t, dx) in tokens.iter().zip(dx.chunks_exact(h)) {
            add(&mut embed.gradient[t * h..(t + 1) * h], 1.0, dx);
        }
        let norm = self
            .parameters
            .values()
            .map(|p| dot(&p.gradient, &p.gradient))
            .sum::<f64>()
            .sqrt();
        self.steps += 1;
        let factor = (parts::CLIP / (norm + 1e-6)).min(1.0);
        self.parameters
            .values_mut()
            .for_each(|p| p.update(factor, self.steps));
        Step {
            loss,
            norm,
            nearest,
        }
    }

    /// What the forward pass sees of every linear layer; the weight nearest to a border, and all that f32 cannot decide.
    fn quantize(&mut self, beyond: &[Weight]) -> (Near, Vec<Weight>) {
        let mut borders = Borders::new(beyond);
        for layer in self.config.linears() {
            if layer.prefix == Config::HEAD && self.recipe.skip_head {
                continue;
            }
            let name = format!("{}.weight", layer.prefix);
            if let Some(p) = self.parameters.get_mut(&name) {
                let method = self.recipe.method;
                p.seen = quantized(method, &layer.prefix, &p.value, p.columns, &mut borders);
            }
        }
        let embed = self.parameters.get_mut(EMBED);
        let embed = embed.expect("there is one");
        embed.seen.clone_from(&embed.value);
        (borders.nearest, borders.undecided)
    }

    /// Rotates all heads of `x` by the angles of their positions, or back.
    fn rotate(&self, x: &mut [f64], heads: usize, back: bool) {
        let d = self.config.head_dim;
        for (position, x) in x.chunks_exact_mut(heads * d).enumerate() {
            for head in x.chunks_exact_mut(d) {
                for j in 0..d / 2 {
                    let angle = &self.angles[position * d + 2 * j..][..2];
                    let [cos, mut sin] = [angle[0], angle[1]].map(f64::from);
                    if back {
                        sin = -sin;
                    }
                    let (a, b) = (head[j], head[j + d / 2]);
                    (head[j], head[j + d / 2]) = (a * cos - b * sin, b * cos + a * sin);
                }
            }
        }
    }

    fn block(&self, layer: usize, x: Vec<f64>) -> (Block, Vec<f64>) {
        let c = &self.config;
        let normed = norm(&x, self.of(layer, "input_layernorm"), c.norm_eps.into());
        let [mut q, mut k, v] = ["q_proj", "k_proj", "v_proj"]
            .map(|name| self.of(layer, &format!("self_attn.{name}")).apply(&normed));
        self.rotate(&mut q, c.heads, false);
        self.rotate(&mut k, c.kv_heads, false);
        let (weights, attended) = self.attend(&q, &k, &v);
        let mut middle = self.of(layer, "self_attn.o_proj").apply(&attended);
        add(&mut middle, 1.0, &x);
        let mlp_in = norm(
            &middle,
            self.of(layer, "post_attention_layernorm"),
            c.norm_eps.into(),
        );
        let gate = self.of(layer, "mlp.gate_proj").apply(&mlp_in);
        let up = self.of(layer, "mlp.up_proj").apply(&mlp_in);
        let active: Vec<f64> = gate
            .iter()
            .zip(&up)
            .map(|(g, u)| g * sigmoid(*g) * u)
            .collect();
        let mut out = self.of(layer, "mlp.down_proj").apply(&active);
        add(&mut out, 1.0, &middle);
        let block = Block {
            x,
            normed,
            q,
            k,
            v,
            weights,
            attended,
            middle,
            mlp_in,
            gate,
            up,
            active,
        };
        (block, out)
    }

    /// Attention weights and what they make of the values.
    fn attend(&self, q: &[f64], k: &[f64], v: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (c, d) = (&self.config, self.config.head_dim);
        let (n, group) = (q.len() / (c.heads * d), c.heads / c.kv_heads);
        let mut weights = vec![0.0; c.heads * n * n];
        let mut out = vec![0.0; q.len()];
        for head in 0..c.heads {
            for t in 0..n {
                let at = |row: usize, kv: bool| match kv {
                    true => (row * c.kv_heads + head / group) * d,
                    false => (row * c.heads + head) * d,
                };
                let query = &q[at(t, false)..][..d];
                let w = &mut weights[(head * n + t) * n..][..=t];
                for (s, w) in w.iter_mut().enumerate() {
                    *w = dot(query, &k[at(s, true)..][..d]) / (d as f64).sqrt();
                }
                softmax(w);
                for (s, w) in w.iter().enumerate() {
                    add(&mut out[at(t, false)..][..d], *w, &v[at(s, true)..][..d]);
                }
            }
        }
        (weights, out)
    }

    /// Gradients of q, k and v after their rotation.
    fn attend_back(&self, b: &Block, dout: &[f64]) -> [Vec<f64>; 3] {
        let (c, d) = (&self.config, self.config.head_dim);
        let (n, group) = (b.q.len() / (c.heads * d), c.heads / c.kv_heads);
        let [mut dq, mut dk, mut dv] = [&b.q, &b.k, &b.v].map(|x| vec![0.0; x.len()]);
        for head in 0..c.heads {
            for t in 0..n {
                let own = (t * c.heads + head) * d;
                let of = |s: usize| (s * c.kv_heads + head / group) * d;
                let (w, dout) = (&b.weights[(head * n + t) * n..][..=t], &dout[own..][..d]);
                let dw: Vec<f64> = (0..=t).map(|s| dot(dout, &b.v[of(s)..][..d])).collect();
                let mean = dot(w, &dw);
                for s in 0..=t {
                    let ds = w[s] * (dw[s] - mean) / (d as f64).sqrt();
                    add(&mut dq[own..][..d], ds, &b.k[of(s)..][..d]);
                    add(&mut dk[of(s)..][..d], ds, &b.q[own..][..d]);
                    add(&mut dv[of(s)..][..d], w[s], dout);
                }
            }
        }
        [dq, dk, dv]
    }

    /// Gradient of a block's input from that of its output.
    fn block_back(&mut self, layer: usize, b: &Block, dout: Vec<f64>) -> Vec<f64> {
        let (eps, heads, kv_heads) = (
            self.config.norm_eps.into(),
            self.config.heads,
            self.config.kv_heads,
        );
        let dactive = self.of_mut(layer, "mlp.down_proj").back(&b.active, &dout);
        let (mut dgate, mut dup) = (Vec::new(), Vec::new());
        for ((d, g), u) in dactive.iter().zip(&b.gate).zip(&b.up) {
            let s = sigmoid(*g);
            dgate.push(d * u * s * (1.0 + g * (1.0 - s)));
            dup.push(d * g * s);
        }
        let mut dmlp = self.of_mut(layer, "mlp.gate_proj").back(&b.mlp_in, &dgate);
        add(
            &mut dmlp,
            1.0,
            &self.of_mut(layer, "mlp.up_proj").back(&b.mlp_in, &dup),
        );
        let mut dmiddle = norm_back(
            &b.middle,
            self.of_mut(layer, "post_attention_layernorm"),
            eps,
            &dmlp,
        );
        add(&mut dmiddle, 1.0, &dout);
        let dattended = self
            .of_mut(layer, "self_attn.o_proj")
            .back(&b.attended, &dmiddle);
        let [mut dq, mut dk, dv] = self.attend_back(b, &dattended);
        self.rotate(&mut dq, heads, true);
        self.rotate(&mut dk, kv_heads, true);
        let mut dnormed = vec![0.0; b.normed.len()];
        for (name, d) in [("q_proj", dq), ("k_proj", dk), ("v_proj", dv)] {
            let name = format!("self_attn.{name}");
            add(
                &mut dnormed,
                1.0,
                &self.of_mut(layer, &name).back(&b.normed, &d),
            );
        }
        let mut dx = norm_back(&b.x, self.of_mut(layer, "input_layernorm"), eps, &dnormed);
        add(&mut dx, 1.0, &dmiddle);
        dx
    }

    /// Mean cross entropy of the next tokens, and its gradient at the last block's output.
    fn loss(&mut self, tokens: &[usize], x: &[f64]) -> (f64, Vec<f64>) {
        let (eps, vocab) = (f64::from(self.config.norm_eps), self.config.vocab);
        let normed = norm(x, &self.parameters["model.norm.weight"], eps);
        let mut dlogits = self.parameters[&self.head].apply(&normed);
        let targets = tokens.len() - 1;
        let mut loss = 0.0;
        for (t, row) in dlogits.chunks_exact_mut(vocab).enumerate() {
            let Some(&next) = tokens.get(t + 1) else {
                row.fill(0.0);
                continue;
            };
            softmax(row);
            loss -= row[next].ln() / targets as f64;
            row[next] -= 1.0;
            row.iter_mut().for_each(|p| *p /= targets as f64);
        }
        let head = self.parameters.get_mut(&self.head).expect("there is one");
        let dnormed = head.back(&normed, &dlogits);
        let last = self
            .parameters
            .get_mut("model.norm.weight")
            .expect("there is one");
        (loss, norm_back(x, last, eps, &dnormed))
    }
}
