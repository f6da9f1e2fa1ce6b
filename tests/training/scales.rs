//! Learned scales: their gradients against finite differences in f64 with codes that stay, and what they are packed as.

use super::exact::{self, Parameters};
use super::gradient::{STEP, batch, relative, wide};
use super::{batches, config, options, state, steps};
use crate::common::{devices, one_at_a_time};
use fairy2i_gpu::Result;
use fairy2i_gpu::backend::{Backend, Cpu, block_on};
use fairy2i_gpu::model::{Granularity, Method, Mixed, Packed, dequantize};
use fairy2i_gpu::ops::quantize::Hadamard;
use fairy2i_gpu::train::step::{Kind, Part, TrainOptions, Trainer};

/// Options with learned scales.
fn learned(method: Method, granularity: Granularity) -> TrainOptions {
    let mut options = options(method, true);
    options.recipe.granularity = granularity;
    TrainOptions {
        learned_scales: true,
        ..options
    }
}

/// What every scale of a layer stands for: the weight with this scale 1 and all others 0.
fn basis(packed: &Packed, rotated: bool) -> Vec<Vec<f64>> {
    let one = |i: usize| {
        let mut unit = packed.clone();
        unit.scales = vec![0.0; packed.scales.len()];
        unit.scales[i] = 1.0;
        let cpu = Cpu::new();
        let mut values = block_on(&cpu, dequantize(&cpu, &unit)).unwrap();
        if rotated {
            let turn = Hadamard {
                rows: packed.out_features,
                width: packed.in_features,
                inverse: true,
            };
            turn.apply(&mut values);
        }
        wide(&values)
    };
    (0..packed.scales.len()).map(one).collect()
}

/// The sum of a basis by its scales.
fn sum(basis: &[Vec<f64>], scales: &[f64]) -> Vec<f64> {
    let mut all = vec![0.0; basis[0].len()];
    for (values, scale) in basis.iter().zip(scales) {
        for (sum, v) in all.iter_mut().zip(values) {
            *sum += scale * v;
        }
    }
    all
}

/// Overwrites all masters but those of scales by noise.
fn scatter(trainer: &mut Trainer<&Cpu>) -> Result<()> {
    for (i, p) in trainer.parameters().to_vec().iter().enumerate() {
        if p.kind != Kind::Scales {
            let values = fairy2i_gpu::ops::noise(200 + i as u32, p.len(), 0.8);
            trainer.write(Part::Master, i, &values)?;
        }
    }
    Ok(())
}

/// All masters by their names.
fn masters(trainer: &Trainer<&Cpu>) -> Result<Parameters> {
    let mut all = Parameters::new();
    for (i, p) in trainer.parameters().iter().enumerate() {
        let values = block_on(*trainer.backend(), trainer.read(Part::Master, i))?;
        all.insert(p.name.clone(), wide(&values));
    }
    Ok(all)
}

/// The loss of a step, in f64, whose labels count `tokens` tokens.
fn loss(data: &[(Vec<u32>, Vec<i32>, usize)], parameters: &Parameters, tokens: usize) -> f64 {
    let texts = data.iter();
    let texts = texts.flat_map(|(t, l, n)| t.chunks(*n).zip(l.chunks(*n)));
    let losses = texts.map(|(t, l)| exact::loss(t, l, parameters, &config()));
    losses.sum::<f64>() / tokens as f64
}

/// Tiles that do not divide the layers.
const TILES: Granularity = Granularity::Tile {
    rows: 3,
    columns: 16,
};

#[test]
fn gradients_of_scales() -> Result<()> {
    let mixed: Mixed = "1,down=2,head=3".parse().unwrap();
    for (method, granularity, rotated) in [
        (Method::Phase { stages: 2 }, Granularity::Tensor, false),
        (Method::Phase { stages: 2 }, Granularity::Row, true),
        (Method::Mixed(mixed), Granularity::Group(16), false),
        (Method::Phase { stages: 2 }, TILES, true),
    ] {
        let (cpu, config) = (Cpu::new(), config());
        let mut options = learned(method, granularity);
        options.recipe.rotated = rotated;
        let mut trainer = Trainer::from_scratch(&cpu, &config, options, 3)?;
        let list = trainer.parameters().to_vec();
        scatter(&mut trainer)?;
        let data = batches(&config);
        let given: Vec<_> = data.iter().map(|(t, l, n)| batch(t, l, *n)).collect();
        let report = block_on(&cpu, trainer.step(&given, 0.0, 0.0))?;
        let mut parameters = masters(&trainer)?;
        let layers = block_on(&cpu, trainer.packed())?;
        let layers: Vec<_> = layers
            .into_iter()
            .map(|(name, packed)| (name, basis(&packed, rotated), wide(&packed.scales)))
            .collect();
        for (name, basis, scales) in &layers {
            parameters.insert(format!("{name}.weight"), sum(basis, scales));
        }
        let mean = |parameters: &Parameters| loss(&data, parameters, report.tokens);
        assert!((report.loss - mean(&parameters)).abs() < 1e-6 * report.loss);
        for (name, basis, scales) in &layers {
            let of = format!("{name}.scales");
            let index = list.iter().position(|p| p.name == of).unwrap();
            let got = block_on(&cpu, trainer.gradient(index))?;
            let mut all = parameters.clone();
            let want: Vec<f64> = (0..scales.len())
                .map(|j| {
                    let mut at = |offset: f64| {
                        let mut scales = scales.clone();
                        scales[j] *= offset.exp();
                        all.insert(format!("{name}.weight"), sum(basis, &scales));
                        mean(&all)
                    };
                    (at(STEP) - at(-STEP)) / (2.0 * STEP)
                })
                .collect();
            let error = relative(&got, &want);
            println!("{name}, {method:?}, {granularity}: {error:e}");
            assert!(error < 3e-6, "{name}: {error:e}");
        }
    }
    Ok(())
}

/// Options with learned scales and a first stage that is trained by itself, too.
fn nested(method: Method, granularity: Granularity, share: f64) -> TrainOptions {
    TrainOptions {
        nested: share,
        ..learned(method, granularity)
    }
}

/// Stages of a packed layer.
fn stages(packed: &Packed) -> usize {
    match packed.method {
        Method::Phase { stages } => stages,
        other => panic!("{other:?}"),
    }
}

/// The weight of a layer's first stage.
fn first_stage(packed: &Packed) -> Vec<f64> {
    let mut first = packed.clone();
    let stages = stages(packed);
    let behind = |i: &usize| !(i / 2).is_multiple_of(stages);
    for i in (0..packed.scales.len()).filter(behind) {
        first.scales[i] = 0.0;
    }
    let cpu = Cpu::new();
    wide(&block_on(&cpu, dequantize(&cpu, &first)).unwrap())
}

/// The loss of a step with a share for the first stage is that of the packed layers and of their first stages, and the
/// gradients of scales are its slopes.
#[test]
fn both_readings_of_nested_stages_are_trained() -> Result<()> {
    let mixed: Mixed = "2,down=1,head=3".parse().unwrap();
    for (method, granularity) in [
        (Method::Phase { stages: 2 }, Granularity::Row),
        (Method::Mixed(mixed), Granularity::Tensor),
        (Method::Phase { stages: 2 }, TILES),
    ] {
        let (cpu, config, share) = (Cpu::new(), config(), 0.3);
        let options = nested(method, granularity, share);
        let mut trainer = Trainer::from_scratch(&cpu, &config, options, 3)?;
        let list = trainer.parameters().to_vec();
        scatter(&mut trainer)?;
        let data = batches(&config);
        let given: Vec<_> = data.iter().map(|(t, l, n)| batch(t, l, *n)).collect();
        let report = block_on(&cpu, trainer.step(&given, 0.0, 0.0))?;
        let parameters = masters(&trainer)?;
        let layers = block_on(&cpu, trainer.packed())?;
        let [mut all, mut first] = [parameters.clone(), parameters];
        for (name, packed) in &layers {
            let weight = format!("{name}.weight");
            all.insert(
                weight.clone(),
                wide(&block_on(&cpu, dequantize(&cpu, packed))?),
            );
            first.insert(weight, first_stage(packed));
        }
        let mean = |parameters: &Parameters| loss(&data, parameters, report.tokens);
        let both = (1.0 - share) * mean(&all) + share * mean(&first);
        assert!(
            (report.loss - both).abs() < 1e-6 * both,
            "{} {both}",
            report.loss
        );
        for (stages, parameters) in [(1, &first), (trainer.options().recipe.most_stages(), &all)] {
            trainer.set_stages(stages)?;
            let (sum, tokens) = block_on(&cpu, trainer.evaluate(&given))?;
            let want = mean(parameters);
            assert!(
                (sum / tokens as f64 - want).abs() < 1e-6 * want,
                "{stages} stages"
            );
        }
        // weights and scales of one layer of each kind: others take the same way
        for (name, packed) in layers.iter().rev().take(4) {
            let of = format!("{name}.scales");
            let index = list.iter().position(|p| p.name == of).unwrap();
            let got = block_on(&cpu, trainer.gradient(index))?;
            let (weight, basis, scales) = (
                format!("{name}.weight"),
                basis(packed, false),
                wide(&packed.scales),
            );
            let stages = stages(packed);
            let want: Vec<f64> = (0..scales.len())
                .map(|j| {
                    let at = |offset: f64| {
                        let mut scales = scales.clone();
                        scales[j] *= offset.exp();
                        let (mut all, mut first) = (all.clone(), first.clone());
                        all.insert(weight.clone(), sum(&basis, &scales));
                        for (i, scale) in scales.iter_mut().enumerate() {
                            *scale *= f64::from(u8::from(i / 2 % stages == 0));
                        }
                        first.insert(weight.clone(), sum(&basis, &scales));
                        (1.0 - share) * mean(&all) + share * mean(&first)
                    };
                    (at(STEP) - at(-STEP)) / (2.0 * STEP)
                })
                .collect();
            let error = relative(&got, &want);
            println!("{name}, {method:?}, {granularity}: {error:e}");
            assert!(error < 3e-6, "{name}: {error:e}");
        }
    }
    Ok(())
}

/// First stages of nested layers depend on nothing behind them: they are those of a model with one stage and the same
/// scales.
#[test]
fn a_nested_model_learns_and_is_resumed_to_the_bit() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        let how = nested(Method::Phase { stages: 2 }, Granularity::Row, 0.5);
        let mut whole = Trainer::from_scratch(&device, &config(), how, 42)?;
        let reports = steps(&mut whole, 4)?;
        assert!(reports[3].loss < reports[0].loss);
        let mut first = Trainer::from_scratch(&device, &config(), how, 42)?;
        assert_eq!(steps(&mut first, 2)?, reports[..2]);
        let mut second = Trainer::from_scratch(&device, &config(), how, 7)?;
        for (i, values) in state(&first)?.into_iter().enumerate() {
            let values: Vec<f32> = bytemuck::cast_vec(values);
            second.write(Part::ALL[i % 3], i / 3, &values)?;
        }
        second.set_progress(first.progress())?;
        assert_eq!(steps(&mut second, 2)?, reports[2..]);
        assert_eq!(state(&second)?, state(&whole)?);
        let one = learned(Method::Phase { stages: 1 }, Granularity::Row);
        let mut one = Trainer::from_scratch(&device, &config(), one, 7)?;
        let list = whole.parameters().to_vec();
        for (i, p) in list.iter().enumerate() {
            let mut values = block_on(&device, whole.read(Part::Master, i))?;
            if p.kind == Kind::Scales {
                let kept = values.iter().enumerate().filter(|(i, _)| i / 2 % 2 == 0);
                values = kept.map(|(_, &v)| v).collect();
            }
            one.write(Part::Master, i, &values)?;
        }
        let pairs = block_on(&device, whole.packed())?.into_iter();
        for ((name, two), (_, one)) in pairs.zip(block_on(&device, one.packed())?) {
            assert_eq!(
                first_stage(&two),
                wide(&block_on(&device, dequantize(&device, &one))?),
                "{name}"
            );
        }
    }
    Ok(())
}

#[test]
fn learned_scales_learn_and_are_resumed_to_the_bit() -> Result<()> {
    let _one = one_at_a_time();
    let devices = devices();
    let grains = [Granularity::Row, TILES];
    let all = devices.iter().flat_map(|d| grains.map(|g| (d, g)));
    for (device, granularity) in all {
        let how = learned(Method::Phase { stages: 2 }, granularity);
        let mut whole = Trainer::from_scratch(device, &config(), how, 42)?;
        let reports = steps(&mut whole, 4)?;
        assert!(reports[3].loss < reports[0].loss);
        let mut first = Trainer::from_scratch(device, &config(), how, 42)?;
        assert_eq!(steps(&mut first, 2)?, reports[..2]);
        let begun = block_on(device, first.packed())?;
        let mut second = Trainer::from_scratch(device, &config(), how, 7)?;
        for (i, values) in state(&first)?.into_iter().enumerate() {
            let values: Vec<f32> = bytemuck::cast_vec(values);
            second.write(Part::ALL[i % 3], i / 3, &values)?;
        }
        second.set_progress(first.progress())?;
        assert_eq!(block_on(device, second.packed())?, begun);
        assert_eq!(steps(&mut second, 2)?, reports[2..]);
        assert_eq!(state(&second)?, state(&whole)?);
        assert!(
            block_on(device, second.packed())? != begun,
            "{}",
            device.name()
        );
    }
    Ok(())
}

#[test]
fn what_has_no_scales_to_learn_is_refused() {
    let (cpu, config) = (Cpu::new(), config());
    for method in [Method::Full, Method::Ternary] {
        let how = learned(method, Granularity::Tensor);
        assert!(Trainer::from_scratch(&cpu, &config, how, 1).is_err());
    }
    let how = learned(Method::Phase { stages: 2 }, Granularity::Row);
    let mut trainer = Trainer::from_scratch(&cpu, &config, how, 1).unwrap();
    assert!(trainer.set_stages(1).is_err());
    let two = Method::Phase { stages: 2 };
    for (method, share, scales) in [
        (Method::Phase { stages: 1 }, 0.5, true),
        (two, 0.5, false),
        (two, 1.0, true),
        (two, f64::NAN, true),
    ] {
        let how = TrainOptions {
            learned_scales: scales,
            ..nested(method, Granularity::Row, share)
        };
        assert!(Trainer::from_scratch(&cpu, &config, how, 1).is_err());
    }
}
