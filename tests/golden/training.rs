//! `llama.json` again: losses and gradient norms of five AdamW steps through every quantizer.

use super::Report;
use super::common::Device;
use super::llama::{Formula, config, recipe, weights};
use super::plain::{HELD, Near, Plain, Step, Weight};
use fairy2i_gpu::backend::{Backend, block_on};
use fairy2i_gpu::model::{Config, Weights};
use fairy2i_gpu::train::step::{Batch, StepReport, TrainOptions, Trainer};
use serde_json::Value;

/// Relative errors allowed: in f32 on the CPU, on a GPU, and of the training in f64 beside the fixture, which is
/// computed in f32.
const CPU: f64 = 1e-5;
const GPU: f64 = 1e-4;
const PLAIN: f64 = 1e-5;

/// Relative errors allowed where f32 cannot hold on which side of a border between two codes some weight lies: the
/// fixture's own f32 has it so or so, and one weight with the other code makes another model, however little.
const UNDECIDED: f64 = 2e-4;

/// Trainings in f64 that are followed at a time, and weights of a step whose codes are tried both ways.
const WAYS: usize = 8;
const WEIGHTS: usize = 3;

/// One model of the fixture with one quantizer.
struct Subject<'a> {
    config: Config,
    weights: Formula,
    tokens: Vec<u32>,
    method: &'a str,
    losses: Vec<f64>,
    norms: Vec<f64>,
}

impl<'a> Subject<'a> {
    fn new(case: &Value, method: &'a str, want: &Value) -> Self {
        let config = config(case);
        let ids = case["tokens"].as_array().unwrap().iter();
        let list = |field: &str| -> Vec<f64> {
            let values = want[field].as_array().unwrap().iter();
            values.map(|v| v.as_f64().unwrap()).collect()
        };
        Self {
            weights: weights(&config, case),
            config,
            tokens: ids.map(|t| t.as_u64().unwrap() as u32).collect(),
            method,
            losses: list("qat_losses"),
            norms: list("qat_grad_norms"),
        }
    }

    /// The steps on a device.
    fn steps(&self, device: &Device) -> fairy2i_gpu::Result<Vec<StepReport>> {
        let labels: Vec<i32> = self.tokens.iter().map(|&t| t as i32).collect();
        let options = TrainOptions {
            exact: true,
            ..TrainOptions::new(recipe(self.method), 1, self.tokens.len())
        };
        let batch = Batch {
            tokens: &self.tokens,
            labels: &labels,
            length: self.tokens.len(),
        };
        let mut trainer = Trainer::load(device, &self.config, &self.weights, options)?;
        let step = |_: &f64| block_on(device, trainer.step(&[batch], 1e-3, 0.1));
        self.losses.iter().map(step).collect()
    }

    /// The same model in f64.
    fn plain(&self) -> Plain {
        let values = |name: &str| {
            let tensor = self.weights.tensor(name).unwrap().expect(name);
            tensor.to_f32(0..tensor.elements())
        };
        let (recipe, length) = (recipe(self.method), self.tokens.len());
        Plain::new(&self.config, recipe, values, length)
    }

    fn ids(&self) -> Vec<usize> {
        self.tokens.iter().map(|&t| t as usize).collect()
    }

    /// The steps in f64.
    fn plain_steps(&self) -> Vec<Step> {
        let (mut plain, ids) = (self.plain(), self.ids());
        self.losses.iter().map(|_| plain.step(&ids, &[])).collect()
    }

    /// Whether a device's steps are those in f64 where some of the weights that f32 cannot decide take the other code:
    /// these weights, if so. (From there on such a training goes another way than the fixture, ever farther from it.)
    fn other_way(&self, got: &[[f64; 2]], bound: f64) -> Option<Vec<Weight>> {
        let ids = self.ids();
        let mut ways = vec![(self.plain(), Vec::new())];
        for got in got {
            let mut next = Vec::new();
            for (mut plain, taken) in ways {
                let undecided = plain.undecided();
                let tried = undecided.len().min(WEIGHTS);
                for choice in 0..1usize << tried {
                    let beyond = (0..tried).filter(|i| choice >> i & 1 == 1);
                    let beyond: Vec<_> = beyond.map(|i| undecided[i].clone()).collect();
                    let mut plain = plain.clone();
                    let step = plain.step(&ids, &beyond);
                    if off(got, [step.loss, step.norm]).iter().all(|e| *e <= bound) {
                        next.push((plain, [taken.clone(), beyond].concat()));
                    }
                }
            }
            next.truncate(WAYS);
            ways = next;
        }
        ways.into_iter().next().map(|(_, taken)| taken)
    }

    /// Compares losses and norms of all steps with the fixture's.
    fn compare(&self, id: &str, got: &[[f64; 2]], bound: f64, report: &mut Report) {
        let want = self.losses.iter().zip(&self.norms);
        for (step, (got, want)) in got.iter().zip(want).enumerate() {
            let [loss, norm] = off(got, [*want.0, *want.1]);
            report.bound(&format!("{id}, loss {step}"), loss, bound);
            report.bound(&format!("{id}, norm {step}"), norm, bound);
        }
    }
}

/// Relative errors of a loss and a norm.
fn off(got: &[f64; 2], want: [f64; 2]) -> [f64; 2] {
    [0, 1].map(|i| (got[i] - want[i]).abs() / want[i])
}

/// The weight that came nearest to a border between codes in all steps.
fn nearest(steps: &[Step]) -> (usize, &Near) {
    let all = steps.iter().map(|step| &step.nearest).enumerate();
    all.min_by(|a, b| a.1.spacings.total_cmp(&b.1.spacings))
        .expect("there are steps")
}

/// Five steps of every method in f64 and on all devices.
pub fn judge(json: &Value, devices: &[Device], report: &mut Report) {
    for (name, case) in json.as_object().unwrap() {
        for (method, want) in case["methods"].as_object().unwrap() {
            let subject = Subject::new(case, method, want);
            judge_one(&subject, name, devices, report);
        }
    }
}

fn judge_one(subject: &Subject<'_>, name: &str, devices: &[Device], report: &mut Report) {
    let id = format!("training, {name}, {}", subject.method);
    let steps = subject.plain_steps();
    let (step, near) = nearest(&steps);
    let undecided = near.spacings < HELD;
    if let Some(weight) = near.weight.as_ref().filter(|_| undecided) {
        println!(
            "golden: {id}: {UNDECIDED:e} allowed: before step {step} {weight} is {:.3} spacings of f32 from the border \
             between two codes",
            near.spacings
        );
    }
    let bound = |usual: f64| {
        if undecided {
            UNDECIDED.max(usual)
        } else {
            usual
        }
    };
    let got: Vec<_> = steps.iter().map(|s| [s.loss, s.norm]).collect();
    subject.compare(&format!("{id}, f64"), &got, bound(PLAIN), report);
    for device in devices {
        let id = format!("{id}, {}", device.name());
        let usual = if device.is_cpu() { CPU } else { GPU };
        let got = match subject.steps(device) {
            Ok(got) => got,
            Err(error) => {
                report.check(false, || format!("{id}: {error}"));
                continue;
            }
        };
        report.check(!got.iter().any(|s| s.skipped), || format!("{id}: skipped"));
        let got: Vec<_> = got.iter().map(|s| [s.loss, s.grad_norm]).collect();
        let want = subject.losses.iter().zip(&subject.norms);
        let within = |(got, want): (&[f64; 2], (&f64, &f64))| {
            off(got, [*want.0, *want.1])
                .iter()
                .all(|e| *e <= bound(usual))
        };
        if undecided && !got.iter().zip(want).all(within) {
            match subject.other_way(&got, usual) {
                Some(weights) => {
                    let weights: Vec<_> = weights.iter().map(Weight::to_string).collect();
                    println!(
                        "golden: {id}: within {usual:e} of f64 with the other code for {}",
                        weights.join("; ")
                    );
                    report.check(!weights.is_empty(), || format!("{id}: the fixture is off"));
                    continue;
                }
                None => report.check(false, || format!("{id}: follows no choice of codes")),
            }
        }
        subject.compare(&id, &got, bound(usual), report);
    }
}
