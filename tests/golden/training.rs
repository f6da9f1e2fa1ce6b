//! `llama.json` again: losses and gradient norms of five AdamW steps through every quantizer.

use super::Report;
use super::common::Device;
use super::llama::{config, recipe, weights};
use fairy2i_gpu::backend::{Backend, block_on};
use fairy2i_gpu::model::train::{Batch, StepReport, TrainOptions, Trainer};
use serde_json::Value;

/// Relative errors allowed: in f32 on the CPU, and on a GPU.
const CPU: f64 = 1e-5;
const GPU: f64 = 1e-4;

fn steps(
    device: &Device,
    case: &Value,
    method: &str,
    count: usize,
) -> fairy2i_gpu::Result<Vec<StepReport>> {
    let config = config(case);
    let weights = weights(&config, case);
    let ids = case["tokens"].as_array().unwrap().iter();
    let tokens: Vec<u32> = ids.map(|t| t.as_u64().unwrap() as u32).collect();
    let labels: Vec<i32> = tokens.iter().map(|&t| t as i32).collect();
    let options = TrainOptions {
        exact: true,
        ..TrainOptions::new(recipe(method), 1, tokens.len())
    };
    let batch = Batch {
        tokens: &tokens,
        labels: &labels,
        length: tokens.len(),
    };
    let mut trainer = Trainer::load(device, &config, &weights, options)?;
    let mut reports = Vec::new();
    for _ in 0..count {
        reports.push(block_on(device, trainer.step(&[batch], 1e-3, 0.1))?);
    }
    Ok(reports)
}

/// Five steps of every method on all devices.
pub fn judge(json: &Value, devices: &[Device], report: &mut Report) {
    for (name, case) in json.as_object().unwrap() {
        for (method, want) in case["methods"].as_object().unwrap() {
            let list = |field: &str| -> Vec<f64> {
                let values = want[field].as_array().unwrap().iter();
                values.map(|v| v.as_f64().unwrap()).collect()
            };
            let (losses, norms) = (list("qat_losses"), list("qat_grad_norms"));
            for device in devices {
                let bound = if device.is_cpu() { CPU } else { GPU };
                let id = format!("training, {name}, {method}, {}", device.name());
                let got = match steps(device, case, method, losses.len()) {
                    Ok(got) => got,
                    Err(error) => {
                        report.check(false, || format!("{id}: {error}"));
                        continue;
                    }
                };
                for (step, got) in got.iter().enumerate() {
                    let relative = |got: f64, want: f64| (got - want).abs() / want;
                    let loss = relative(got.loss, losses[step]);
                    report.bound(&format!("{id}, loss {step}"), loss, bound);
                    let norm = relative(got.grad_norm, norms[step]);
                    report.bound(&format!("{id}, norm {step}"), norm, bound);
                    report.check(!got.skipped, || format!("{id}: skipped"));
                }
            }
        }
    }
}
