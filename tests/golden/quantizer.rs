//! `quantizer.json`: codes, scales and errors of the papers' quantizers.

use super::Report;
use super::common::Device;
use fairy2i_gpu::backend::{Backend, block_on, upload_new};
use fairy2i_gpu::codebook::{code_at, words_for};
use fairy2i_gpu::fixed::exponent_of;
use fairy2i_gpu::model::quantize::quantize;
use fairy2i_gpu::model::{Form, Granularity, Method, Packed};
use fairy2i_gpu::ops::noise;
use fairy2i_gpu::ops::quantize::{BaselineMean, BaselineShard, BaselineSum};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Case {
    rows: usize,
    cols: usize,
    amplitude: f64,
    seed: u32,
    stages: Vec<Stage>,
    relative_error: BTreeMap<String, f64>,
    bitnet_scale: f64,
    bitnet_mean: f64,
}

#[derive(Deserialize)]
struct Stage {
    part: String,
    stage: usize,
    s_re: f64,
    s_im: f64,
    histogram: [usize; 4],
    #[serde(default)]
    codes: Option<Vec<u8>>,
    codes_sha256: String,
}

/// What the library makes of one matrix.
#[derive(PartialEq)]
struct Results {
    packed: Vec<(&'static str, Packed)>,
    /// mean |R|, mean R
    stats: [f32; 2],
}

const METHODS: [(&str, Method); 6] = [
    ("complex_phase_v1", Method::Phase { stages: 1 }),
    ("complex_phase_v2", Method::Phase { stages: 2 }),
    ("complex_phase_v3", Method::Phase { stages: 3 }),
    ("complex_phase_v4", Method::Phase { stages: 4 }),
    ("bitnet", Method::Binary),
    ("bitnet_1_58", Method::Ternary),
];

/// Judges a file of cases, on every device.
pub fn judge(value: &serde_json::Value, devices: &[(String, Device)]) -> Report {
    let mut report = Report::default();
    let cases = match value {
        serde_json::Value::Object(map) => map.get("cases").unwrap_or(value),
        _ => value,
    };
    let cases: Vec<Case> = serde_json::from_value(cases.clone()).expect("cases of the quantizer");
    for case in &cases {
        let r = noise(case.seed, case.rows * case.cols, case.amplitude as f32);
        let mut first: Option<Results> = None;
        for (name, device) in devices {
            let place = format!("{} x {}, seed {}, {name}", case.rows, case.cols, case.seed);
            let results = match block_on(device, run(device, case, &r)) {
                Ok(results) => results,
                Err(error) => {
                    report.check(false, || format!("{place}: {error}"));
                    continue;
                }
            };
            if let Some(first) = &first {
                report.check(*first == results, || format!("{place}: not the CPU's bits"));
            }
            compare(&mut report, &place, case, &results);
            first.get_or_insert(results);
        }
    }
    report
}

async fn run<B: Backend>(backend: &B, case: &Case, r: &[f32]) -> fairy2i_gpu::Result<Results> {
    let mut packed = Vec::new();
    for (name, method) in METHODS {
        let result = quantize(
            backend,
            name,
            r,
            Form::WidelyLinear,
            case.rows,
            case.cols,
            method,
            Granularity::Tensor,
            false,
        );
        packed.push((name, result.await?));
    }
    let rows = BaselineShard::whole(false, case.rows, case.cols, exponent_of(r.iter().copied()));
    let weights = upload_new(backend, "r", bytemuck::cast_slice(r))?;
    let sums = backend.alloc("sums", 4 * case.rows)?;
    let stats = backend.alloc("stats", 2)?;
    backend.run(&BaselineSum(rows), &[&weights, &sums]).await?;
    backend.run(&BaselineMean(rows), &[&sums, &stats]).await?;
    let words = backend.download(&stats, 0, 2).await?;
    let stats = [f32::from_bits(words[0]), f32::from_bits(words[1])];
    Ok(Results { packed, stats })
}

/// Within 1e-6 of it, relatively and absolutely.
fn close(got: f32, wanted: f64) -> bool {
    let off = (f64::from(got) - wanted).abs();
    off <= 1e-6 * wanted.abs() && off <= 1e-6
}

fn compare(report: &mut Report, place: &str, case: &Case, results: &Results) {
    for (name, packed) in &results.packed {
        if let Some(&wanted) = case.relative_error.get(*name) {
            let got = packed.relative_error.unwrap_or(f64::NAN);
            report.check((got - wanted).abs() <= 1e-5, || {
                format!("{place}, {name}: relative error {got}, not {wanted}")
            });
        }
        match packed.method {
            Method::Phase { stages } => {
                for wanted in case.stages.iter().filter(|s| s.stage < stages) {
                    stage(report, &format!("{place}, {name}"), packed, stages, wanted);
                }
            }
            _ => report.check(close(packed.scales[0], case.bitnet_scale), || {
                let got = packed.scales[0];
                format!("{place}, {name}: scale {got}, not {}", case.bitnet_scale)
            }),
        }
    }
    let [scale, mean] = results.stats;
    report.check(close(scale, case.bitnet_scale), || {
        format!("{place}: mean |R| {scale}, not {}", case.bitnet_scale)
    });
    // a mean near zero is a difference of large sums: float32 is only absolutely exact there
    let off = (f64::from(mean) - case.bitnet_mean).abs();
    report.check(off <= 1e-6 * case.bitnet_scale, || {
        format!("{place}: mean R {mean}, not {}", case.bitnet_mean)
    });
}

fn stage(report: &mut Report, place: &str, packed: &Packed, stages: usize, wanted: &Stage) {
    let place = format!("{place}, {} stage {}", wanted.part, wanted.stage);
    let part = usize::from(wanted.part == "W");
    let (n, m) = (
        packed.out_features.div_ceil(2),
        packed.in_features.div_ceil(2),
    );
    let words = words_for(m);
    let mut codes = Vec::with_capacity(n * m);
    for row in 0..n {
        let at = ((row * 2 + part) * stages + wanted.stage) * words;
        let row = &packed.codes[at..at + words];
        codes.extend((0..m).map(|c| code_at(row, c)));
    }
    let mut histogram = [0; 4];
    for &k in &codes {
        histogram[usize::from(k)] += 1;
    }
    report.check(histogram == wanted.histogram, || {
        format!(
            "{place}: histogram {histogram:?}, not {:?}",
            wanted.histogram
        )
    });
    if let Some(wanted) = &wanted.codes {
        report.check(codes == *wanted, || format!("{place}: codes differ"));
    }
    let hash: String = Sha256::digest(&codes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    report.check(hash == wanted.codes_sha256, || {
        format!(
            "{place}: hash of the codes {hash}, not {}",
            wanted.codes_sha256
        )
    });
    let at = (part * stages + wanted.stage) * 2;
    for (axis, got, wanted) in [
        ("s_re", packed.scales[at], wanted.s_re),
        ("s_im", packed.scales[at + 1], wanted.s_im),
    ] {
        report.check(close(got, wanted), || {
            format!("{place}: {axis} {got}, not {wanted}")
        });
    }
}
