//! Moments and masters of fewer bits: they learn as those of 32 do, and what is resumed ends with the same bits.

use super::{W2, batches, config, options, steps};
use crate::common::{devices, one_at_a_time};
use fairy2i_gpu::Result;
use fairy2i_gpu::backend::{Backend, Cpu, block_on};
use fairy2i_gpu::model::{Dtype, Method};
use fairy2i_gpu::train::step::{Kind, Masters, Moments, Part, TrainOptions, Trainer};

/// Everything that is held in fewer bits, and masters in both.
const FORMATS: [(Moments, Masters); 4] = [
    (Moments::Bf16, Masters::F32),
    (Moments::Block8, Masters::F32),
    (Moments::F32, Masters::Bf16),
    (Moments::Block8, Masters::Bf16),
];

fn held(moments: Moments, masters: Masters, seed: u64) -> TrainOptions {
    TrainOptions {
        moments,
        masters,
        seed,
        ..options(W2, true)
    }
}

/// All tensors of a trainer, as a checkpoint has them.
fn words<B: Backend>(trainer: &Trainer<&B>) -> Result<Vec<Vec<u32>>> {
    let each = Part::ALL
        .into_iter()
        .flat_map(|part| (0..trainer.parameters().len()).map(move |i| (part, i)));
    each.map(|(part, i)| block_on(*trainer.backend(), trainer.words(part, i)))
        .collect()
}

/// Puts into `trainer` what another one had.
fn resume<B: Backend>(trainer: &mut Trainer<&B>, from: &Trainer<&B>) -> Result<()> {
    let n = from.parameters().len();
    for (i, words) in words(from)?.into_iter().enumerate() {
        trainer.set_words(Part::ALL[i / n], i % n, &words)?;
    }
    trainer.set_progress(from.progress())
}

#[test]
fn fewer_bits_are_resumed_to_the_bit() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        for (moments, masters) in FORMATS {
            let how = held(moments, masters, 11);
            let begin = |seed| Trainer::from_scratch(&device, &config(), how, seed);
            let mut whole = begin(42)?;
            let reports = steps(&mut whole, 4)?;
            let mut first = begin(42)?;
            assert_eq!(steps(&mut first, 2)?, reports[..2]);
            let mut second = begin(7)?;
            resume(&mut second, &first)?;
            assert_eq!(steps(&mut second, 2)?, reports[2..]);
            assert_eq!(words(&second)?, words(&whole)?);
            // another seed rounds in another way
            let other = held(moments, masters, 12);
            let mut other = Trainer::from_scratch(&device, &config(), other, 42)?;
            steps(&mut other, 4)?;
            assert!(words(&other)? != words(&whole)?, "{moments:?}, {masters:?}");
        }
    }
    Ok(())
}

#[test]
fn fewer_bits_learn_as_many_do() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        let learn = |moments, masters| -> Result<Vec<f64>> {
            let how = held(moments, masters, 1);
            let mut trainer = Trainer::from_scratch(&device, &config(), how, 42)?;
            let reports = steps(&mut trainer, 60)?;
            Ok(reports.iter().map(|r| r.loss).collect())
        };
        let plain = learn(Moments::F32, Masters::F32)?;
        let (begin, want) = (plain[0], mean(&plain[50..]));
        // all of them on the CPU, the fewest bits on every device
        let first = if device.is_cpu() { 0 } else { 3 };
        for (moments, masters) in FORMATS.into_iter().skip(first) {
            let losses = learn(moments, masters)?;
            let got = mean(&losses[50..]);
            println!("{moments:?}, {masters:?}: {begin:.4}, {want:.4}, {got:.4}");
            // what is lost of the way is at most a fiftieth of it
            assert!(
                got - want < 0.02 * (begin - want),
                "{moments:?}, {masters:?}"
            );
        }
    }
    Ok(())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn what_is_held_in_fewer_bits_takes_fewer_words() -> Result<()> {
    let cpu = Cpu::new();
    let how = held(Moments::Block8, Masters::Bf16, 1);
    let mut trainer = Trainer::from_scratch(&cpu, &config(), how, 42)?;
    steps(&mut trainer, 1)?;
    let list = trainer.parameters().to_vec();
    for part in Part::ALL {
        for (i, of) in trainer.layouts(part).iter().enumerate() {
            let (p, words) = (&list[i], block_on(&cpu, trainer.words(part, i))?);
            assert_eq!(
                words.len(),
                of.shape.iter().product::<usize>(),
                "{}",
                p.name
            );
            let packed = match part {
                Part::Master => p.kind == Kind::Linear,
                _ => p.kind != Kind::Norm,
            };
            assert_eq!(of.dtype == Dtype::U32, packed, "{} {part:?}", p.name);
            let values = block_on(&cpu, trainer.read(part, i))?;
            assert_eq!(values.len(), p.len());
            if packed && part == Part::Master {
                assert_eq!(words.len(), p.len().div_ceil(2));
                trainer.write(part, i, &values)?;
                assert_eq!(block_on(&cpu, trainer.words(part, i))?, words);
            } else if packed {
                assert_eq!(words.len(), p.len().div_ceil(256) * 65);
                assert!(trainer.write(part, i, &values).is_err());
                let used = |v: &f32| *v > 0.0 || part == Part::First && *v != 0.0;
                assert!(values.iter().any(used), "{} {part:?}", p.name);
            }
        }
    }
    // those of another format are refused
    let plain = Trainer::from_scratch(&cpu, &config(), options(W2, true), 42)?;
    let first = block_on(&cpu, plain.words(Part::First, 0))?;
    let error = trainer.set_words(Part::First, 0, &first).unwrap_err();
    assert!(error.to_string().contains("moments"), "{error}");
    Ok(())
}

/// A second moment that changes by a twentieth in a step would stay where it is if it were rounded to the nearest eighth.
#[test]
fn moments_forget_what_is_long_ago() -> Result<()> {
    let cpu = Cpu::new();
    for moments in [Moments::Bf16, Moments::Block8] {
        let how = TrainOptions {
            moments,
            seed: 3,
            ..options(Method::Full, true)
        };
        let mut trainer = Trainer::from_scratch(&cpu, &config(), how, 42)?;
        steps(&mut trainer, 1)?;
        let (embed, width) = (0, config().hidden);
        // no text has this token: the gradient of its embedding is 0
        let used: Vec<u32> = batches(&config()).into_iter().flat_map(|b| b.0).collect();
        let unused = (0..config().vocab).find(|&t| !used.contains(&(t as u32)));
        let row = unused.expect("a token") * width;
        // all second moments are 1
        let mut words = block_on(&cpu, trainer.words(Part::Second, embed))?;
        if moments == Moments::Bf16 {
            words.fill(0x3f80_3f80);
        } else {
            words.fill(0xf8f8_f8f8);
            *words.last_mut().expect("the top") = 127;
        }
        trainer.set_words(Part::Second, embed, &words)?;
        let mean = |trainer: &Trainer<&Cpu>| -> Result<f64> {
            let values = block_on(&cpu, trainer.read(Part::Second, embed))?;
            let values = values[row..][..width].iter();
            Ok(values.map(|&v| f64::from(v)).sum::<f64>() / width as f64)
        };
        assert_eq!(mean(&trainer)?, 1.0);
        steps(&mut trainer, 40)?;
        let (left, want) = (mean(&trainer)?, 0.95f64.powi(40));
        println!("{moments:?}: {left}, {want}");
        assert!((left / want - 1.0).abs() < 0.25, "{moments:?}: {left}");
    }
    Ok(())
}
