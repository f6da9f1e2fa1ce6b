//! Models of complex layers: gradients against a model in complex numbers of f64, what rounding their activations means, and
//! what must not change a bit.

use super::exact::{self, Parameters, softmax};
use super::gradient::{STEP, differences, dot, relative, run, wide};
use super::teacher::Taken;
use super::{batches, config, options, state, steps};
use crate::common::{devices, one_at_a_time};
use fairy2i_gpu::backend::{Cpu, block_on};
use fairy2i_gpu::model::{Config, LoadOptions, Method, Model, rope};
use fairy2i_gpu::ops::quantize::{Activations, ConjugateExpand, ConjugateFold, ConjugateWeight};
use fairy2i_gpu::ops::train::{MatmulTrain, MatrixView};
use fairy2i_gpu::ops::{Kv, MatrixDtype, noise};
use fairy2i_gpu::train::step::{Batch, Part, TrainOptions, Trainer};
use fairy2i_gpu::{Error, Result};

const W1: Method = Method::Phase { stages: 1 };

/// A complex model with everything uneven: 5 complex values in the residual stream, 7 in the MLP, heads of 3.
fn complex() -> Config {
    Config {
        architecture: "ComplexNetForCausalLM".into(),
        ..config()
    }
}

/// The paper's training: one stage, a dense head, activations of 8 bits.
fn rounded(checkpoint: bool) -> TrainOptions {
    let mut options = options(W1, checkpoint);
    options.recipe.skip_head = true;
    options.activations = Activations::Int8;
    options
}

type Complex = [f64; 2];

/// Rows of halves as rows of complex numbers.
fn numbers(x: &[f64]) -> Vec<Complex> {
    let (re, im) = x.split_at(x.len() / 2);
    re.iter().zip(im).map(|(&re, &im)| [re, im]).collect()
}

/// `W conj(x)` for a stored weight: rows of real parts, then of imaginary parts.
fn linear(w: &[f64], x: &[Complex]) -> Vec<Complex> {
    let (re, im) = w.split_at(w.len() / 2);
    let rows = re.chunks(x.len()).zip(im.chunks(x.len()));
    rows.map(|(re, im)| {
        let mut sum = [0.0; 2];
        for ((w_re, w_im), [x_re, x_im]) in re.iter().zip(im).zip(x) {
            sum[0] += w_re * x_re + w_im * x_im;
            sum[1] += w_im * x_re - w_re * x_im;
        }
        sum
    })
    .collect()
}

fn norm(x: &[Complex], weight: &[f64], eps: f32) -> Vec<Complex> {
    let power: f64 = x.iter().map(|[re, im]| re * re + im * im).sum();
    let root = (power / x.len() as f64 + f64::from(eps)).sqrt();
    let weights = numbers(weight);
    let scaled = x.iter().zip(weights);
    scaled
        .map(|(x, w)| [x[0] / root * w[0], x[1] / root * w[1]])
        .collect()
}

fn add(x: &mut [Complex], y: &[Complex]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x = [x[0] + y[0], x[1] + y[1]];
    }
}

/// Multiplies the heads of a token by the turns of its position.
fn rotate(x: &mut [Complex], c: &Config, position: usize) {
    let table = rope::trained_table(&c.rope, c.head_dim, position + 1);
    let turns = &table[position * c.head_dim..];
    for head in x.chunks_mut(c.head_dim / 2) {
        for (x, turn) in head.iter_mut().zip(turns.chunks(2)) {
            let (cos, sin) = (f64::from(turn[0]), f64::from(turn[1]));
            *x = [x[0] * cos - x[1] * sin, x[0] * sin + x[1] * cos];
        }
    }
}

/// What token `i` attends to: `softmax(Re(q conj(k)) / sqrt(d)) v` for heads of d complex values.
fn attention(qkv: &[[Vec<Complex>; 3]], i: usize, c: &Config) -> Vec<Complex> {
    let d = c.head_dim / 2;
    let mut out = Vec::new();
    for (head, q) in qkv[i][0].chunks(d).enumerate() {
        let first = head / (c.heads / c.kv_heads) * d;
        let score = |[_, k, _]: &[Vec<Complex>; 3]| -> f64 {
            let pairs = q.iter().zip(&k[first..]);
            pairs.map(|(q, k)| q[0] * k[0] + q[1] * k[1]).sum()
        };
        let scores: Vec<f64> = qkv[..=i].iter().map(score).collect();
        let mut sum = vec![[0.0; 2]; d];
        for (weight, [.., v]) in softmax(&scores, (d as f64).powf(-0.5)).iter().zip(qkv) {
            for (sum, v) in sum.iter_mut().zip(&v[first..]) {
                *sum = [sum[0] + weight * v[0], sum[1] + weight * v[1]];
            }
        }
        out.extend(sum);
    }
    out
}

/// Sum of the losses of one text.
fn loss(tokens: &[u32], labels: &[i32], p: &Parameters, c: &Config) -> f64 {
    let embed = &p["token_embeddings.weight"];
    let row = |&t: &u32| numbers(&embed[t as usize * c.hidden..][..c.hidden]);
    let mut stream: Vec<Vec<Complex>> = tokens.iter().map(row).collect();
    for l in 0..c.layers {
        let weight = |name: &str| &p[&format!("layer.{l}.{name}.weight")][..];
        let norm = |x: &[Complex], name: &str| norm(x, weight(name), c.norm_eps);
        let of_token = |(position, x): (usize, &Vec<Complex>)| {
            let x = norm(x, "pre_layernorm");
            let layers = ["q_proj", "k_proj", "v_proj"].map(|name| format!("self_attn.{name}"));
            let [mut q, mut k, v] = layers.map(|name| linear(weight(&name), &x));
            rotate(&mut q, c, position);
            rotate(&mut k, c, position);
            [q, k, v]
        };
        let qkv: Vec<_> = stream.iter().enumerate().map(of_token).collect();
        for (i, x) in stream.iter_mut().enumerate() {
            let attended = norm(&attention(&qkv, i, c), "self_attn.attn_layernorm");
            add(x, &linear(weight("self_attn.o_proj"), &attended));
            let read = norm(x, "post_layernorm");
            let gate = linear(weight("mlp.gate_proj"), &read);
            let up = linear(weight("mlp.up_proj"), &read);
            let pairs = gate.into_iter().zip(up);
            let inner: Vec<_> = pairs.map(|(g, u)| exact::squared_gated(g, u)).collect();
            add(
                x,
                &linear(weight("mlp.down_proj"), &norm(&inner, "mlp.ffn_layernorm")),
            );
        }
    }
    let targets = stream.iter().zip(&labels[1..]);
    let targets = targets.filter(|(_, label)| **label >= 0);
    let of_token = |(x, &label): (&Vec<Complex>, &i32)| {
        let x = norm(x, &p["final_norm.weight"], c.norm_eps);
        let halves: Vec<f64> = [0, 1]
            .iter()
            .flat_map(|&i| x.iter().map(move |x| x[i]))
            .collect();
        let logit = |w: &[f64]| w.iter().zip(&halves).map(|(w, x)| w * x).sum();
        let logits: Vec<f64> = p["lm_head.weight"].chunks(c.hidden).map(logit).collect();
        -softmax(&logits, 1.0)[label as usize].ln()
    };
    targets.map(of_token).sum()
}

/// What a trainer makes of a layer in runs of outputs, piece by piece.
#[test]
fn layers_by_their_real_matrices() {
    let (tokens, n, m, half_run) = (3, 6, 5, 2);
    let weight = ConjugateWeight {
        rows: n,
        columns: m,
        half_run,
    };
    let (x, w) = (noise(1, tokens * 2 * m, 1.0), noise(2, 2 * n * m, 1.0));
    let d_y = noise(3, tokens * 2 * n, 1.0);
    let forward = |x: &[f64], w: &[f64]| -> Vec<f64> {
        let of_token = |x: &[f64]| -> Vec<f64> {
            let y = linear(w, &numbers(x));
            let halves = |run: &[Complex]| [0, 1].map(|i| run.iter().map(|y| y[i]).collect());
            let runs: Vec<[Vec<f64>; 2]> = y.chunks(half_run).map(halves).collect();
            runs.concat().concat()
        };
        x.chunks(2 * m).flat_map(of_token).collect()
    };
    let expand = ConjugateExpand {
        weight,
        dtype: MatrixDtype::F32,
    };
    let real = run(&expand, &[&w, &vec![0.0; 4 * n * m]], 1);
    let [ins, outs] = [2 * m, 2 * n].map(MatrixView::rows);
    let op = MatmulTrain::new([tokens, 2 * n, 2 * m], ins, ins, outs);
    let y = run(&op, &[&x, &real, &vec![0.0; tokens * 2 * n]], 2);
    assert!(relative(&y, &forward(&wide(&x), &wide(&w))) < 1e-6);

    let op = MatmulTrain::new([tokens, 2 * m, 2 * n], outs, ins.transposed(), ins);
    let d_x = run(&op, &[&d_y, &real, &vec![0.0; tokens * 2 * m]], 2);
    let want = differences(&wide(&x), |x| dot(&forward(x, &wide(&w)), &d_y));
    assert!(relative(&d_x, &want) < 1e-6);

    let op = MatmulTrain::new(
        [2 * n, 2 * m, tokens],
        outs.transposed(),
        ins.transposed(),
        ins,
    );
    let d_real = run(&op, &[&d_y, &x, &vec![0.0; 4 * n * m]], 2);
    let fold = ConjugateFold {
        weight,
        accumulate: false,
    };
    let d_w = run(&fold, &[&d_real, &vec![0.0; 2 * n * m]], 1);
    let want = differences(&wide(&w), |w| dot(&forward(&wide(&x), w), &d_y));
    assert!(relative(&d_w, &want) < 1e-6);
}

/// All parameters of a complex model with two blocks and grouped heads; two micro-batches, so that gradients are gathered.
#[test]
fn every_parameter_of_a_complex_model() -> Result<()> {
    let (config, cpu) = (complex(), Cpu::new());
    let full = options(Method::Full, true);
    let mut trainer = Trainer::from_scratch(&cpu, &config, full, 42)?;
    let names: Vec<_> = trainer.parameters().to_vec();
    let mut parameters = Parameters::new();
    for (i, p) in names.iter().enumerate() {
        let values = noise(100 + i as u32, p.len(), 0.8);
        trainer.write(Part::Master, i, &values)?;
        parameters.insert(p.name.clone(), wide(&values));
    }
    let data = batches(&config);
    let given: Vec<_> = data.iter().map(|d| batch(d)).collect();
    let report = block_on(&cpu, trainer.step(&given, 0.0, 0.0))?;
    let mean = |parameters: &Parameters| -> f64 {
        let texts = data
            .iter()
            .flat_map(|(t, l, length)| t.chunks(*length).zip(l.chunks(*length)));
        let losses = texts.map(|(t, l)| loss(t, l, parameters, &config));
        losses.sum::<f64>() / report.tokens as f64
    };
    let want = mean(&parameters);
    let off = (report.loss - want).abs() / want;
    assert!(off < 1e-6, "a loss of {}, not {want}", report.loss);
    for (i, p) in names.iter().enumerate() {
        let got = block_on(&cpu, trainer.gradient(i))?;
        let mut all = parameters.clone();
        let slope = |j: usize| {
            let mut at = |offset: f64| {
                all.get_mut(&p.name).unwrap()[j] = parameters[&p.name][j] + offset;
                mean(&all)
            };
            let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            at(0.0);
            slope
        };
        let want: Vec<f64> = (0..p.len()).map(slope).collect();
        let error = relative(&got, &want);
        println!("{}: {error:e}", p.name);
        assert!(error < 1e-5, "{}: {error:e}", p.name);
    }
    Ok(())
}

fn batch((tokens, labels, length): &(Vec<u32>, Vec<i32>, usize)) -> Batch<'_> {
    Batch {
        tokens,
        labels,
        length: *length,
    }
}

#[test]
fn complex_training_is_resumed_and_computed_again_bit_for_bit() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        let of = |checkpoint, seed| {
            Trainer::from_scratch(&device, &complex(), rounded(checkpoint), seed)
        };
        let mut whole = of(true, 42)?;
        let reports = steps(&mut whole, 4)?;
        assert!(reports[3].loss < reports[0].loss);
        let mut kept = of(false, 42)?;
        assert_eq!(steps(&mut kept, 2)?, reports[..2]);
        let mut second = of(true, 7)?;
        for (i, values) in state(&kept)?.into_iter().enumerate() {
            let values: Vec<f32> = bytemuck::cast_vec(values);
            second.write(Part::ALL[i % 3], i / 3, &values)?;
        }
        second.set_progress(kept.progress())?;
        assert_eq!(steps(&mut second, 2)?, reports[2..]);
        assert_eq!(state(&second)?, state(&whole)?);
    }
    Ok(())
}

/// Complex parts begin with half the variance of other weights.
#[test]
fn complex_weights_begin_as_wide_as_real_ones() -> Result<()> {
    let mut config = complex();
    (config.hidden, config.intermediate) = (96, 200);
    let cpu = Cpu::new();
    let trainer = Trainer::from_scratch(&cpu, &config, options(W1, true), 1)?;
    for (name, want) in [
        ("layer.1.mlp.up_proj.weight", 0.02 * 0.5f64.sqrt()),
        ("token_embeddings.weight", 0.02),
    ] {
        let list = trainer.parameters();
        let i = list.iter().position(|p| p.name == name).unwrap();
        let values = wide(&block_on(&cpu, trainer.read(Part::Master, i))?);
        let square = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
        let off = square.sqrt() / want - 1.0;
        assert!(off.abs() < 0.05, "{name}: {}", square.sqrt());
    }
    Ok(())
}

/// The mean loss of a text, from logits of the model as it generates.
async fn deployed(
    cpu: &Cpu,
    trainer: &Trainer<&Cpu>,
    (tokens, labels): (&[u32], &[i32]),
) -> Result<f64> {
    let (config, told) = (trainer.config(), trainer.options());
    let options = LoadOptions {
        recipe: told.recipe,
        activations: told.activations,
        context: config.context,
        batch: tokens.len(),
        kv: Some(Kv::F32),
        swa_full: false,
        exact: true,
    };
    let weights = Taken::from(trainer)?;
    let model = Model::load(cpu, config, &weights, options, &mut |_| {}).await?;
    let logits = wide(&model.session()?.feed_all(tokens).await?);
    let rows = logits.chunks(config.vocab).zip(&labels[1..]);
    let losses: Vec<f64> = rows
        .filter(|(_, label)| **label >= 0)
        .map(|(logits, &label)| -softmax(logits, 1.0)[label as usize].ln())
        .collect();
    Ok(losses.iter().sum::<f64>() / losses.len() as f64)
}

#[test]
fn training_rounds_activations_as_generating_does() -> Result<()> {
    let cpu = Cpu::new();
    for (config, skip_head) in [(config(), false), (config(), true), (complex(), true)] {
        let (tokens, labels, length) = &batches(&config)[1];
        let text = (&tokens[..*length], &labels[..*length]);
        let batch = Batch {
            tokens: text.0,
            labels: text.1,
            length: *length,
        };
        let mut losses = Vec::new();
        // Sums of another order can put a value that lies between two integers of 8 bits on the other one.
        for (activations, bound) in [(Activations::Int16, 1e-5), (Activations::Int8, 1e-3)] {
            let mut options = options(W1, true);
            options.recipe.skip_head = skip_head;
            options.activations = activations;
            let mut trainer = Trainer::from_scratch(&cpu, &config, options, 3)?;
            for i in 0..trainer.parameters().len() {
                let values = noise(40 + i as u32, trainer.parameters()[i].len(), 0.8);
                trainer.write(Part::Master, i, &values)?;
            }
            let (sum, count) = block_on(&cpu, trainer.evaluate(&[batch]))?;
            let (got, want) = (
                sum / count as f64,
                block_on(&cpu, deployed(&cpu, &trainer, text))?,
            );
            let id = format!("{}, {activations}: {got}, not {want}", config.architecture);
            assert!((got - want).abs() < bound * want, "{id}");
            losses.push(got);
        }
        assert!((losses[1] - losses[0]).abs() > 1e-6, "{losses:?}");
    }
    Ok(())
}

#[test]
fn what_complex_layers_cannot_have_is_refused() {
    let refused = |change: fn(&mut TrainOptions)| {
        let mut options = options(W1, true);
        change(&mut options);
        let error = options.check(&complex()).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }), "{error}");
    };
    refused(|o| o.learned_scales = true);
    refused(|o| o.recipe.rotated = true);
    refused(|o| o.recipe.method = Method::Ternary);
    assert!(options(W1, true).check(&complex()).is_ok());
}
