//! Gradients against finite differences in f64, the quantizer bypassed: of the ops, and of every parameter of a whole
//! model, where each op stands in the middle of the graph.

use super::exact::{self, Parameters};
use super::{batches, config, trainer};
use fairy2i_gpu::Result;
use fairy2i_gpu::backend::{Backend, Cpu, block_on, upload_new};
use fairy2i_gpu::model::Method;
use fairy2i_gpu::ops::Op;
use fairy2i_gpu::ops::attention::Rotation;
use fairy2i_gpu::ops::noise;
use fairy2i_gpu::ops::norm::{Rms, RmsNormHeads};
use fairy2i_gpu::ops::train::{
    MatmulTrain, MatrixView, RmsNormBackward, RmsNormHeadsBackward, RmsNormHeadsWeightBackward,
    RmsNormWeightBackward, RopeInPlace, SquaredReluGluBackward, SwigluBackward, TokenDistill,
    TokenLoss,
};
use fairy2i_gpu::train::step::{Batch, Part};

/// Half the distance of the points of a difference.
pub const STEP: f64 = 1e-5;

/// Derivatives of `f` in every value of `x`.
pub fn differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let before = x[i];
            x[i] = before + STEP;
            let above = f(&x);
            x[i] = before - STEP;
            let below = f(&x);
            x[i] = before;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

/// `|a - b| / |b|`.
pub fn relative(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let pairs = got.iter().zip(want).map(|(&a, &b)| (f64::from(a) - b, b));
    let (error, power) = pairs.fold((0.0, 0.0), |(e, p), (d, b)| (e + d * d, p + b * b));
    (error / power).sqrt()
}

pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

pub fn dot(a: &[f64], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, &b)| a * f64::from(b)).sum()
}

/// Runs an op on its buffers and returns buffer `result`.
pub fn run<O: Op>(op: &O, buffers: &[&[f32]], result: usize) -> Vec<f32> {
    let cpu = Cpu::reference();
    let held: Vec<_> = buffers
        .iter()
        .map(|b| upload_new(&cpu, O::NAME, bytemuck::cast_slice(b)).unwrap())
        .collect();
    block_on(&cpu, cpu.run(op, &held.iter().collect::<Vec<_>>())).unwrap();
    let words = block_on(&cpu, cpu.download(&held[result], 0, buffers[result].len())).unwrap();
    bytemuck::cast_vec(words)
}

#[test]
fn norms() {
    norms_of(17, Rms::real(1e-5));
    norms_of(18, Rms::complex(1e-5));
}

fn norms_of(n: usize, rms: Rms) {
    let rows = 3;
    let (x, w) = (noise(1, rows * n, 2.0), noise(2, n, 1.5));
    let d_y = noise(3, rows * n, 1.0);
    let op = RmsNormBackward {
        tokens: rows,
        n,
        rms,
        accumulate: false,
    };
    let out = vec![0.0; rows * n];
    let buffers: [&[f32]; 5] = [&x, &w, &d_y, &out, &vec![0.0; rows]];
    let norm = |x: &[f64], w: &[f64]| exact::norm(x, w, rms);
    let want = differences(&wide(&x), |x| dot(&norm(x, &wide(&w)), &d_y));
    assert!(relative(&run(&op, &buffers, 3), &want) < 1e-6);
    let scale = run(&op, &buffers, 4);
    let op = RmsNormWeightBackward { tokens: rows, n };
    let got = run(&op, &[&x, &d_y, &scale, &vec![0.0; n]], 3);
    let want = differences(&wide(&w), |w| dot(&norm(&wide(&x), w), &d_y));
    assert!(relative(&got, &want) < 1e-6);
}

#[test]
fn gated_activation() {
    let (rows, n) = (2, 9);
    let (x, d_y) = (noise(4, rows * 2 * n, 5.0), noise(5, rows * n, 1.0));
    let forward = |x: &[f64]| -> Vec<f64> {
        let row =
            |x: &[f64]| -> Vec<f64> { (0..n).map(|i| exact::gated(x[i], x[n + i])).collect() };
        x.chunks(2 * n).flat_map(row).collect()
    };
    let want = differences(&wide(&x), |x| dot(&forward(x), &d_y));
    let got = run(
        &SwigluBackward {
            tokens: rows,
            n,
            gelu: false,
        },
        &[&d_y, &x],
        1,
    );
    assert!(relative(&got, &want) < 1e-6);
}

#[test]
fn complex_gated_activation() {
    let (rows, n) = (2, 18);
    let half = n / 2;
    let (x, d_y) = (noise(4, rows * 2 * n, 3.0), noise(5, rows * n, 1.0));
    let forward = |x: &[f64]| -> Vec<f64> {
        let row = |x: &[f64]| -> Vec<f64> {
            let of =
                |i: usize| exact::squared_gated([x[i], x[half + i]], [x[n + i], x[n + half + i]]);
            let values: Vec<[f64; 2]> = (0..half).map(of).collect();
            let parts = [0, 1].map(|part| values.iter().map(move |value| value[part]));
            parts.into_iter().flatten().collect()
        };
        x.chunks(2 * n).flat_map(row).collect()
    };
    let want = differences(&wide(&x), |x| dot(&forward(x), &d_y));
    assert!(want.contains(&0.0) && want.iter().any(|d| d.abs() > 1.0));
    let op = SquaredReluGluBackward { tokens: rows, n };
    assert!(relative(&run(&op, &[&d_y, &x], 1), &want) < 1e-6);
}

#[test]
fn norms_of_heads() {
    let norm = RmsNormHeads {
        tokens: 2,
        offset: 1,
        row: 50,
        groups: [3, 2],
        widths: [8, 6],
        rms: Rms::real(1e-5),
    };
    let (x, d_y) = (noise(15, 150, 2.0), noise(16, 150, 1.0));
    let (q, k) = (noise(18, 8, 1.5), noise(19, 6, 1.5));
    // queries and keys of the last two rows are normalized, other values stay
    let forward = |x: &[f64], q: &[f64], k: &[f64]| -> Vec<f64> {
        let row = |row: &[f64]| {
            let normed = [
                exact::norm(&row[..24], q, norm.rms),
                exact::norm(&row[24..36], k, norm.rms),
            ];
            [normed.concat(), row[36..].to_vec()].concat()
        };
        [x[..50].to_vec(), row(&x[50..100]), row(&x[100..])].concat()
    };
    let (wide_x, wide_q, wide_k) = (wide(&x), wide(&q), wide(&k));
    let normed = run(&norm, &[&x, &q, &k], 0);
    assert!(relative(&normed, &forward(&wide_x, &wide_q, &wide_k)) < 1e-6);
    let back = RmsNormHeadsBackward(norm);
    let want = differences(&wide_x, |x| dot(&forward(x, &wide_q, &wide_k), &d_y));
    assert!(relative(&run(&back, &[&x, &q, &k, &d_y], 3), &want) < 1e-6);
    let shares = run(&back, &[&x, &q, &k, &d_y], 0);
    let back = RmsNormHeadsWeightBackward(norm);
    let gradients: [&[f32]; 3] = [&shares, &[0.0; 8], &[0.0; 6]];
    let want = differences(&wide_q, |q| dot(&forward(&wide_x, q, &wide_k), &d_y));
    assert!(relative(&run(&back, &gradients, 1), &want) < 1e-6);
    let want = differences(&wide_k, |k| dot(&forward(&wide_x, &wide_q, k), &d_y));
    assert!(relative(&run(&back, &gradients, 2), &want) < 1e-6);
}

#[test]
fn rotation() {
    for rotation in [
        Rotation::halves(6),
        Rotation::halves(4),
        Rotation::neighbours(4),
    ] {
        rotation_of(rotation);
    }
}

fn rotation_of(rotation: Rotation) {
    let op = |back| RopeInPlace {
        tokens: 4,
        heads: 3,
        rotated: 2,
        head_dim: 6,
        rotation,
        length: 2,
        inverse: back,
    };
    let angles = noise(8, rotation.width, 3.0);
    let table: Vec<f32> = angles.iter().flat_map(|a| [a.cos(), a.sin()]).collect();
    let (x, d_y) = (noise(9, 72, 1.0), noise(10, 72, 1.0));
    // a rotation is linear: <d_y, turn x> = <turn back d_y, x>
    let turned = run(&op(false), &[&table, &x], 1);
    let back = wide(&run(&op(true), &[&table, &d_y], 1));
    assert!((dot(&wide(&turned), &d_y) - dot(&back, &x)).abs() < 1e-5);
    // of the heads that are rotated, so many values change
    let changed = turned.iter().zip(&x).filter(|(a, b)| a != b).count();
    assert_eq!(changed, 4 * 2 * rotation.width);
}

#[test]
fn loss() {
    let (rows, vocab) = (3, 11);
    let x = noise(11, rows * vocab, 4.0);
    let targets = [7u32, u32::MAX, 0];
    let forward = |x: &[f64]| -> f64 {
        let rows = x.chunks(vocab).zip(targets).filter(|(_, t)| *t != u32::MAX);
        rows.map(|(x, t)| -exact::softmax(x, 1.0)[t as usize].ln() * 0.5)
            .sum()
    };
    let op = TokenLoss {
        tokens: rows,
        vocab,
        offset: 0,
        factor: 0.5,
    };
    let got = run(&op, &[bytemuck::cast_slice(&targets), &x, &[0.0; 3]], 1);
    assert!(relative(&got, &differences(&wide(&x), forward)) < 1e-6);
}

#[test]
fn loss_with_a_teacher() {
    let (rows, vocab, share) = (3, 11, 0.3);
    let (x, teacher) = (noise(11, rows * vocab, 4.0), noise(17, rows * vocab, 2.0));
    let targets = [7u32, u32::MAX, 0];
    let of_row = |x: &[f64], teacher: &[f64], target: u32| -> f64 {
        let (p, q) = (exact::softmax(x, 1.0), exact::softmax(teacher, 1.0));
        let apart: f64 = p.iter().zip(&q).map(|(p, q)| q * (q / p).ln()).sum();
        (1.0 - share) * -p[target as usize].ln() + share * apart
    };
    let wide_teacher = wide(&teacher);
    let forward = |x: &[f64]| -> f64 {
        let rows = x.chunks(vocab).zip(wide_teacher.chunks(vocab)).zip(targets);
        let rows = rows.filter(|(_, t)| *t != u32::MAX);
        rows.map(|((x, teacher), t)| of_row(x, teacher, t) * 0.5)
            .sum()
    };
    let op = TokenDistill {
        tokens: rows,
        vocab,
        offset: 0,
        factor: 0.5,
        share: share as f32,
    };
    let buffers: [&[f32]; 4] = [bytemuck::cast_slice(&targets), &teacher, &x, &[0.0; 3]];
    let got = run(&op, &buffers, 2);
    assert!(relative(&got, &differences(&wide(&x), forward)) < 1e-6);
    let losses: f64 = wide(&run(&op, &buffers, 3)).iter().sum();
    assert!((losses * 0.5 - forward(&wide(&x))).abs() < 1e-6);
}

#[test]
fn products() {
    let (m, n, k) = (3, 4, 5);
    let (x, w) = (noise(12, m * k, 1.0), noise(13, n * k, 1.0));
    let d_y = noise(14, m * n, 1.0);
    let forward = |x: &[f64], w: &[f64]| -> Vec<f64> {
        let at = |i: usize, j: usize| (0..k).map(|l| x[i * k + l] * w[j * k + l]).sum();
        (0..m * n).map(|i| at(i / n, i % n)).collect()
    };
    let rows = MatrixView::rows;
    let d_x = MatmulTrain::new([m, k, n], rows(n), rows(k).transposed(), rows(k));
    let want = differences(&wide(&x), |x| dot(&forward(x, &wide(&w)), &d_y));
    assert!(relative(&run(&d_x, &[&d_y, &w, &vec![0.0; m * k]], 2), &want) < 1e-6);
    let d_w = MatmulTrain::new(
        [n, k, m],
        rows(n).transposed(),
        rows(k).transposed(),
        rows(k),
    );
    let want = differences(&wide(&w), |w| dot(&forward(&wide(&x), w), &d_y));
    assert!(relative(&run(&d_w, &[&d_y, &x, &vec![0.0; n * k]], 2), &want) < 1e-6);
}

/// All parameters of a model with two blocks, grouped heads of an odd number of pairs, two micro-batches of several
/// texts and ignored labels; with the head's own weight, and with the embedding's.
#[test]
fn every_parameter_of_a_model() -> Result<()> {
    for tied in [false, true] {
        let mut config = config();
        config.tied = tied;
        let cpu = Cpu::new();
        let mut trainer = trainer(&cpu, &config, Method::Full, true)?;
        let names: Vec<_> = trainer.parameters().to_vec();
        let mut parameters = Parameters::new();
        for (i, p) in names.iter().enumerate() {
            // larger weights than at the beginning of a training, so that everything bends
            let values = noise(100 + i as u32, p.len(), 0.8);
            trainer.write(Part::Master, i, &values)?;
            parameters.insert(p.name.clone(), wide(&values));
        }
        let data = batches(&config);
        let given: Vec<_> = data
            .iter()
            .map(|(t, l, length)| batch(t, l, *length))
            .collect();
        let report = block_on(&cpu, trainer.step(&given, 0.0, 0.0))?;
        let mean = |parameters: &Parameters| -> f64 {
            let sum: f64 = data
                .iter()
                .flat_map(|(t, l, length)| t.chunks(*length).zip(l.chunks(*length)))
                .map(|(t, l)| exact::loss(t, l, parameters, &config))
                .sum();
            sum / report.tokens as f64
        };
        assert!((report.loss - mean(&parameters)).abs() < 1e-6 * report.loss);
        for (i, p) in names.iter().enumerate() {
            let got = block_on(&cpu, trainer.gradient(i))?;
            let mut all = parameters.clone();
            let want: Vec<f64> = (0..p.len())
                .map(|j| {
                    let mut at = |offset: f64| {
                        all.get_mut(&p.name).unwrap()[j] = parameters[&p.name][j] + offset;
                        mean(&all)
                    };
                    let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                    at(0.0);
                    slope
                })
                .collect();
            let error = relative(&got, &want);
            println!("{}, tied {tied}: {error:e}", p.name);
            assert!(error < 3e-6, "{}: {error:e}", p.name);
        }
    }
    Ok(())
}

pub fn batch<'a>(tokens: &'a [u32], labels: &'a [i32], length: usize) -> Batch<'a> {
    Batch {
        tokens,
        labels,
        length,
    }
}
