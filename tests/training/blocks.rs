//! Parts of a model that are trained by themselves: a block between residual streams, a head, and scales of codes that
//! stay.

use super::exact::{self, Parameters};
use super::gradient::{STEP, batch, relative, wide};
use super::teacher::Taken;
use super::{W2, batches, config, options};
use crate::common::{devices, one_at_a_time};
use fairy2i_gpu::Result;
use fairy2i_gpu::backend::{Backend, Cpu, block_on, upload_new};
use fairy2i_gpu::model::{Config, Packed, Weights, dequantize};
use fairy2i_gpu::ops::noise;
use fairy2i_gpu::train::step::{Given, Kind, Part, Scope, TrainOptions, Trainer};
use std::collections::BTreeMap;

const LENGTH: usize = 7;

fn learned(scope: Scope) -> TrainOptions {
    let mut options = options(W2, true);
    options.learned_scales = true;
    options.within(scope)
}

/// A model with weights that are large enough to matter.
fn model<B: Backend>(backend: &B) -> Result<Taken> {
    let mut trainer = Trainer::from_scratch(backend, &config(), options(W2, true), 3)?;
    for (i, p) in trainer.parameters().to_vec().iter().enumerate() {
        trainer.write(Part::Master, i, &noise(300 + i as u32, p.len(), 0.8))?;
    }
    Taken::from(&trainer)
}

/// Residual streams from noise.
fn streams<B: Backend>(backend: &B, seed: u32, count: u32) -> Result<Vec<B::Buffer>> {
    let values = |i| noise(seed + i, LENGTH * config().hidden, 1.5);
    let upload = |i| upload_new(backend, "stream", bytemuck::cast_slice(&values(i)));
    (0..count).map(upload).collect()
}

fn read<B: Backend>(backend: &B, stream: &B::Buffer) -> Result<Vec<f64>> {
    let words = backend.download(stream, 0, LENGTH * config().hidden);
    let values: Vec<f32> = bytemuck::cast_vec(block_on(backend, words)?);
    Ok(wide(&values))
}

/// Every weight of a trainer as its forward pass sees it.
fn deployed<B: Backend>(trainer: &mut Trainer<&B>) -> Result<Parameters> {
    let (backend, list) = (*trainer.backend(), trainer.parameters().to_vec());
    let mut all = Parameters::new();
    for (i, p) in list.iter().enumerate() {
        if p.kind == Kind::Norm && p.name.starts_with("model.layers.") {
            let values = block_on(backend, trainer.read(Part::Master, i))?;
            all.insert(p.name.clone(), wide(&values));
        }
    }
    for (name, packed) in block_on(backend, trainer.packed())? {
        let values = block_on(backend, dequantize(backend, &packed))?;
        all.insert(format!("{name}.weight"), wide(&values));
    }
    Ok(all)
}

#[test]
fn gradients_of_a_block_by_itself() -> Result<()> {
    let (cpu, config, variance) = (Cpu::new(), config(), 1.7);
    let weights = model(&cpu)?;
    let mut trainer = Trainer::load(&cpu, &config, &weights, learned(Scope::Block(1)))?;
    let (inputs, wanted) = (streams(&cpu, 10, 3)?, streams(&cpu, 20, 3)?);
    let pairs: Vec<_> = inputs.iter().zip(&wanted).map(|(a, b)| [a, b]).collect();
    let step = trainer.step_towards(&pairs, LENGTH, variance, 0.0);
    let report = block_on(&cpu, step)?;
    let parameters = deployed(&mut trainer)?;
    let texts: Vec<_> = pairs
        .iter()
        .map(|[x, y]| Ok((read(&cpu, x)?, read(&cpu, y)?)))
        .collect::<Result<_>>()?;
    let loss = |parameters: &Parameters| -> f64 {
        let square = |(x, wanted): &(Vec<f64>, Vec<f64>)| -> f64 {
            let mut x = x.clone();
            exact::block(&mut x, parameters, 1, &config);
            x.iter().zip(wanted).map(|(a, b)| (a - b).powi(2)).sum()
        };
        let values = (3 * LENGTH * config.hidden) as f64;
        texts.iter().map(square).sum::<f64>() / (values * variance)
    };
    assert!((report.loss - loss(&parameters)).abs() < 1e-6 * report.loss);
    assert_eq!(report.tokens, 3 * LENGTH);
    let mut seen = 0;
    for (i, p) in trainer.parameters().to_vec().iter().enumerate() {
        let Some(values) = parameters.get(&p.name) else {
            continue;
        };
        assert!(p.name.starts_with("model.layers.1."), "{}", p.name);
        seen += 1;
        let mut all = parameters.clone();
        let want: Vec<f64> = (0..values.len())
            .map(|j| {
                let mut at = |offset: f64| {
                    all.get_mut(&p.name).unwrap()[j] = values[j] + offset;
                    let loss = loss(&all);
                    all.get_mut(&p.name).unwrap()[j] = values[j];
                    loss
                };
                (at(STEP) - at(-STEP)) / (2.0 * STEP)
            })
            .collect();
        let error = relative(&block_on(&cpu, trainer.gradient(i))?, &want);
        assert!(error < 3e-6, "{}: {error:e}", p.name);
    }
    assert_eq!(seen, 9);
    Ok(())
}

#[test]
fn a_block_comes_closer_and_runs_as_it_is_packed() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        let (config, weights) = (config(), model(&device)?);
        let load = || Trainer::load(&device, &config, &weights, learned(Scope::Block(0)));
        let mut trainer = load()?;
        let (inputs, wanted) = (streams(&device, 10, 2)?, streams(&device, 10, 2)?);
        let targets: Vec<_> = wanted.iter().collect();
        block_on(&device, trainer.advance(&targets, LENGTH, true))?;
        // in full precision it is the block of the original
        let mut plain = read(&device, &inputs[0])?;
        let given = |name: &str| -> Result<Vec<f64>> {
            let tensor = weights.tensor(name)?.expect("a weight");
            Ok(wide(&tensor.to_f32(0..tensor.elements())))
        };
        let mut parameters = Parameters::new();
        for p in trainer.parameters() {
            if p.name.starts_with("model.layers.") && p.kind != Kind::Scales {
                parameters.insert(p.name.clone(), given(&p.name)?);
            }
        }
        exact::block(&mut plain, &parameters, 0, &config);
        let made: Vec<f32> = read(&device, &wanted[0])?
            .iter()
            .map(|&v| v as f32)
            .collect();
        assert!(relative(&made, &plain) < 1e-5);
        let pairs: Vec<_> = inputs.iter().zip(&wanted).map(|(a, b)| [a, b]).collect();
        let mut losses = Vec::new();
        for _ in 0..30 {
            let step = trainer.step_towards(&pairs, LENGTH, 1.0, 1e-2);
            losses.push(block_on(&device, step)?.loss);
        }
        assert!(losses[29] < 0.7 * losses[0], "{losses:?}");
        // what is packed runs as what was trained
        let packed: BTreeMap<_, _> = block_on(&device, trainer.packed())?.into_iter().collect();
        assert_eq!(packed.len(), 7);
        let mut plain = read(&device, &inputs[1])?;
        exact::block(&mut plain, &deployed(&mut trainer)?, 0, &config);
        trainer.hold(&packed)?;
        let through = vec![&inputs[0], &inputs[1]];
        block_on(&device, trainer.advance(&through, LENGTH, false))?;
        let made: Vec<f32> = read(&device, &inputs[1])?
            .iter()
            .map(|&v| v as f32)
            .collect();
        assert!(relative(&made, &plain) < 1e-5);
    }
    Ok(())
}

/// Residual streams of the full-precision model behind its last block.
fn last_streams<B: Backend>(device: &B, weights: &Taken, ids: &[u32]) -> Result<Vec<B::Buffer>> {
    let config = config();
    let embed = weights.tensor(&config.embed_name())?.expect("an embedding");
    let row = |&id: &u32| {
        let first = id as usize * config.hidden;
        embed.to_f32(first..first + config.hidden)
    };
    let stream = |ids: &[u32]| {
        let values: Vec<f32> = ids.iter().flat_map(row).collect();
        upload_new(device, "stream", bytemuck::cast_slice(&values))
    };
    let streams: Vec<_> = ids.chunks(LENGTH).map(stream).collect::<Result<_>>()?;
    for l in 0..config.layers {
        let mut block = Trainer::load(device, &config, weights, learned(Scope::Block(l)))?;
        let all: Vec<_> = streams.iter().collect();
        block_on(device, block.advance(&all, LENGTH, true))?;
    }
    Ok(streams)
}

/// Codes of the model's own weights, by names.
fn codes<B: Backend>(device: &B, weights: &Taken) -> Result<BTreeMap<String, Packed>> {
    let mut whole = Trainer::load(device, &config(), weights, learned(Scope::Whole))?;
    Ok(block_on(device, whole.packed())?.into_iter().collect())
}

/// Scales and norms have the gradients of the whole model with the same codes, whose teacher reads the text; and nothing
/// but them moves.
#[test]
fn scales_of_codes_that_stay() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        let (config, weights) = (config(), model(&device)?);
        let codes = codes(&device, &weights)?;
        let data = batches(&config);
        let (ids, labels, _) = &data[0];
        // two micro-batches, whose gradients are added
        let (first, second) = (ids.split_at(LENGTH), labels.split_at(LENGTH));
        let given = [
            batch(first.0, second.0, LENGTH),
            batch(first.1, second.1, LENGTH),
        ];
        let taught = |scope| TrainOptions {
            distill: 0.5,
            ..learned(scope)
        };
        let mut whole = Trainer::load(&device, &config, &weights, taught(Scope::Whole))?;
        whole.teach(&weights)?;
        whole.hold(&codes)?;
        let wanted = block_on(&device, whole.step(&given, 0.0, 0.0))?;
        let mut scales = Trainer::load(&device, &config, &weights, taught(Scope::Scales))?;
        scales.teach(&weights)?;
        let streams = last_streams(&device, &weights, ids)?;
        let known: Vec<_> = streams.iter().collect();
        let step = |trainer: &mut Trainer<_>, lr| {
            let teacher = Given {
                inputs: &[],
                teacher: &known,
            };
            block_on(&device, trainer.step_given(&given, teacher, lr, 0.0))
        };
        assert!(step(&mut scales, 0.0).is_err(), "there are no codes yet");
        scales.hold(&codes)?;
        let report = step(&mut scales, 0.0)?;
        assert!((report.loss - wanted.loss).abs() < 1e-5 * wanted.loss);
        for (i, p) in scales.parameters().to_vec().iter().enumerate() {
            if matches!(p.kind, Kind::Norm | Kind::Scales) {
                let got = block_on(&device, scales.gradient(i))?;
                let want = wide(&block_on(&device, whole.gradient(i))?);
                assert!(want.iter().any(|&v| v != 0.0), "{}", p.name);
                let error = relative(&got, &want);
                assert!(error < 1e-4, "{}, {}: {error:e}", device.name(), p.name);
            }
        }
        let embedding = block_on(&device, scales.read(Part::Master, 0))?;
        for _ in 0..8 {
            step(&mut scales, 1e-2)?;
        }
        assert!(step(&mut scales, 0.0)?.loss < report.loss);
        assert_eq!(block_on(&device, scales.read(Part::Master, 0))?, embedding);
        for (name, packed) in block_on(&device, scales.packed())? {
            assert_eq!(packed.codes, codes[&name].codes, "{name}");
            assert_ne!(packed.scales, codes[&name].scales, "{name}");
        }
    }
    Ok(())
}

#[test]
fn a_head_learns_what_another_says() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        let (config, weights) = (config(), model(&device)?);
        let how = TrainOptions {
            distill: 1.0,
            ..learned(Scope::Head)
        };
        let mut head = Trainer::load(&device, &config, &weights, how)?;
        head.teach(&weights)?;
        let data = batches(&config);
        let (ids, labels, _) = &data[0];
        let streams = last_streams(&device, &weights, ids)?;
        let known: Vec<_> = streams.iter().collect();
        // what the head reads is far from what the teacher's head reads
        let others = self::streams(&device, 30, 2)?;
        let inputs: Vec<_> = others.iter().collect();
        let mut losses = Vec::new();
        for _ in 0..30 {
            let given = Given {
                inputs: &inputs,
                teacher: &known,
            };
            let batch = [batch(ids, labels, LENGTH)];
            let step = head.step_given(&batch, given, 1e-2, 0.0);
            losses.push(block_on(&device, step)?.loss);
        }
        assert!(losses[29] < 0.7 * losses[0], "{losses:?}");
        let packed = block_on(&device, head.packed())?;
        assert_eq!(packed.len(), 1);
        assert_eq!(packed[0].0, Config::HEAD);
    }
    Ok(())
}

#[test]
fn what_is_no_part_is_refused() -> Result<()> {
    let (cpu, config) = (Cpu::new(), config());
    let weights = model(&cpu)?;
    let load = |options| Trainer::load(&cpu, &config, &weights, options);
    assert!(load(learned(Scope::Block(2))).is_err(), "a block too many");
    let mut with_head = learned(Scope::Block(0));
    with_head.recipe.skip_head = false;
    assert!(load(with_head).is_err());
    let mut no_head = learned(Scope::Head);
    no_head.recipe.skip_head = true;
    assert!(load(no_head).is_err());
    assert!(load(options(W2, true).within(Scope::Scales)).is_err());
    let streams = streams(&cpu, 10, 1)?;
    let pair = [[&streams[0], &streams[0]]];
    let mut whole = load(learned(Scope::Whole))?;
    assert!(block_on(&cpu, whole.step_towards(&pair, LENGTH, 1.0, 0.1)).is_err());
    assert!(block_on(&cpu, whole.advance(&[&streams[0]], LENGTH, true)).is_err());
    assert!(whole.hold(&BTreeMap::new()).is_err(), "no codes");
    let mut block = load(learned(Scope::Block(0)))?;
    assert!(block_on(&cpu, block.step_towards(&pair, LENGTH, 0.0, 0.1)).is_err());
    assert!(block_on(&cpu, block.step_towards(&[], LENGTH, 1.0, 0.1)).is_err());
    let longer = LENGTH + 1;
    assert!(block_on(&cpu, block.step_towards(&pair, longer, 1.0, 0.1)).is_err());
    let data = batches(&config);
    let (ids, labels, _) = &data[0];
    let given = [batch(ids, labels, LENGTH)];
    assert!(block_on(&cpu, block.step(&given, 0.1, 0.0)).is_err());
    let mut head = load(learned(Scope::Head))?;
    assert!(block_on(&cpu, head.step(&given, 0.1, 0.0)).is_err());
    Ok(())
}
