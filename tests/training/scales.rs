//! Learned scales: their gradients against finite differences in f64 with codes that stay, and what they are packed as.

use super::exact::{self, Parameters};
use super::gradient::{STEP, batch, relative, wide};
use super::{batches, config, options, state, steps};
use crate::common::{devices, one_at_a_time};
use fairy2i_gpu::Result;
use fairy2i_gpu::backend::{Backend, Cpu, block_on};
use fairy2i_gpu::model::train::{Kind, Part, TrainOptions, Trainer};
use fairy2i_gpu::model::{Granularity, Method, Mixed, Packed, dequantize};

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
fn basis(packed: &Packed) -> Vec<Vec<f64>> {
    let one = |i: usize| {
        let mut unit = packed.clone();
        unit.scales = vec![0.0; packed.scales.len()];
        unit.scales[i] = 1.0;
        let cpu = Cpu::new();
        wide(&block_on(&cpu, dequantize(&cpu, &unit)).unwrap())
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

#[test]
fn gradients_of_scales() -> Result<()> {
    let mixed: Mixed = "1,down=2,head=3".parse().unwrap();
    for (method, granularity) in [
        (Method::Phase { stages: 2 }, Granularity::Tensor),
        (Method::Phase { stages: 2 }, Granularity::Row),
        (Method::Mixed(mixed), Granularity::Group(16)),
    ] {
        let (cpu, config) = (Cpu::new(), config());
        let options = learned(method, granularity);
        let mut trainer = Trainer::from_scratch(&cpu, &config, options, 3)?;
        let list = trainer.parameters().to_vec();
        for (i, p) in list.iter().enumerate() {
            if p.kind != Kind::Scales {
                let values = fairy2i_gpu::ops::noise(200 + i as u32, p.len(), 0.8);
                trainer.write(Part::Master, i, &values)?;
            }
        }
        let data = batches(&config);
        let given: Vec<_> = data.iter().map(|(t, l, n)| batch(t, l, *n)).collect();
        let report = block_on(&cpu, trainer.step(&given, 0.0, 0.0))?;
        let mut parameters = Parameters::new();
        for (i, p) in list.iter().enumerate() {
            let values = block_on(&cpu, trainer.read(Part::Master, i))?;
            parameters.insert(p.name.clone(), wide(&values));
        }
        let layers = block_on(&cpu, trainer.packed())?;
        let layers: Vec<_> = layers
            .into_iter()
            .map(|(name, packed)| (name, basis(&packed), wide(&packed.scales)))
            .collect();
        for (name, basis, scales) in &layers {
            parameters.insert(format!("{name}.weight"), sum(basis, scales));
        }
        let mean = |parameters: &Parameters| -> f64 {
            let texts = data.iter();
            let texts = texts.flat_map(|(t, l, n)| t.chunks(*n).zip(l.chunks(*n)));
            let losses = texts.map(|(t, l)| exact::loss(t, l, parameters, &config));
            losses.sum::<f64>() / report.tokens as f64
        };
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

#[test]
fn learned_scales_learn_and_are_resumed_to_the_bit() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        let how = learned(Method::Phase { stages: 2 }, Granularity::Row);
        let mut whole = Trainer::from_scratch(&device, &config(), how, 42)?;
        let reports = steps(&mut whole, 4)?;
        assert!(reports[3].loss < reports[0].loss);
        let mut first = Trainer::from_scratch(&device, &config(), how, 42)?;
        assert_eq!(steps(&mut first, 2)?, reports[..2]);
        let begun = block_on(&device, first.packed())?;
        let mut second = Trainer::from_scratch(&device, &config(), how, 7)?;
        for (i, values) in state(&first)?.into_iter().enumerate() {
            let values: Vec<f32> = bytemuck::cast_vec(values);
            second.write(Part::ALL[i % 3], i / 3, &values)?;
        }
        second.set_progress(first.progress())?;
        assert_eq!(block_on(&device, second.packed())?, begun);
        assert_eq!(steps(&mut second, 2)?, reports[2..]);
        assert_eq!(state(&second)?, state(&whole)?);
        assert!(
            block_on(&device, second.packed())? != begun,
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
}
