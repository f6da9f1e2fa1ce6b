//! Distillation, and weights that are quantized little by little.

use super::{W2, batches, config, options, state, steps, trainer};
use crate::common::{devices, one_at_a_time};
use fairy2i_gpu::Result;
use fairy2i_gpu::backend::{Backend, block_on};
use fairy2i_gpu::model::{Dtype, Method, Recipe, Tensor, Weights};
use fairy2i_gpu::train::step::{Batch, Part, Trainer};
use std::collections::HashMap;

/// The masters of a trainer as a checkpoint.
pub struct Taken(HashMap<String, (Vec<usize>, Vec<f32>)>);

impl Taken {
    pub fn from<B: Backend>(trainer: &Trainer<&B>) -> Result<Self> {
        let mut all = HashMap::new();
        for (i, p) in trainer.parameters().iter().enumerate() {
            let values = block_on(*trainer.backend(), trainer.read(Part::Master, i))?;
            all.insert(p.name.clone(), (p.shape(), values));
        }
        Ok(Self(all))
    }
}

impl Weights for Taken {
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>> {
        Ok(self.0.get(name).map(|(shape, values)| Tensor {
            dtype: Dtype::F32,
            shape: shape.clone(),
            bytes: bytemuck::cast_slice(values).into(),
        }))
    }

    fn recipe(&self) -> Recipe {
        Recipe::FULL
    }
}

fn student<B: Backend>(device: &B, method: Method, distill: f64, seed: u64) -> Result<Trainer<&B>> {
    let mut options = options(method, true);
    options.distill = distill;
    Trainer::from_scratch(device, &config(), options, seed)
}

#[test]
fn who_is_its_own_teacher_has_nothing_to_learn() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        let mut own = student(&device, Method::Full, 1.0, 42)?;
        let weights = Taken::from(&own)?;
        assert!(steps(&mut own, 1).is_err(), "a teacher was announced");
        own.teach(&weights)?;
        let report = steps(&mut own, 1)?[0];
        assert!(report.loss.abs() < 1e-6, "{report:?}");
        assert!(report.grad_norm < 1e-6, "{report:?}");
        assert!(
            trainer(&device, &config(), W2, true)?
                .teach(&weights)
                .is_err()
        );
    }
    Ok(())
}

/// The loss is the mixture of both parts, each measured alone; and the teacher stays as it is while its student comes
/// closer.
#[test]
fn students_come_closer() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        let weights = Taken::from(&student(&device, Method::Full, 0.0, 7)?)?;
        let first = |share: f64| -> Result<f64> {
            let mut taught = student(&device, W2, share, 42)?;
            if share > 0.0 {
                taught.teach(&weights)?;
            }
            Ok(steps(&mut taught, 1)?[0].loss)
        };
        let (entropy, divergence, mixed) = (first(0.0)?, first(1.0)?, first(0.25)?);
        let want = 0.75 * entropy + 0.25 * divergence;
        assert!((mixed - want).abs() < 1e-6, "{mixed} instead of {want}");
        let mut taught = student(&device, W2, 1.0, 42)?;
        taught.teach(&weights)?;
        let reports = steps(&mut taught, 12)?;
        assert!(reports[11].loss < 0.7 * reports[0].loss, "{reports:?}");
        // texts are measured without the teacher
        let mut alone = student(&device, W2, 0.0, 42)?;
        for (i, values) in state(&taught)?.into_iter().enumerate() {
            alone.write(Part::ALL[i % 3], i / 3, bytemuck::cast_slice(&values))?;
        }
        let data = batches(&config());
        let (tokens, labels, length) = &data[0];
        let batch = Batch {
            tokens,
            labels,
            length: *length,
        };
        let measured = block_on(&device, taught.evaluate(&[batch]))?;
        assert_eq!(measured, block_on(&device, alone.evaluate(&[batch]))?);
    }
    Ok(())
}

#[test]
fn quantized_weights_take_over_little_by_little() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        for method in [W2, Method::Binary] {
            let loss = |share: Option<f64>, method: Method| -> Result<f64> {
                let mut trainer = trainer(&device, &config(), method, true)?;
                if let Some(share) = share {
                    trainer.set_quantized_share(share)?;
                }
                Ok(steps(&mut trainer, 1)?[0].loss)
            };
            let (full, quantized) = (loss(None, Method::Full)?, loss(None, method)?);
            assert_eq!(loss(Some(0.0), method)?, full);
            assert_eq!(loss(Some(1.0), method)?, quantized);
            let half = loss(Some(0.5), method)?;
            assert!(half != full && half != quantized);
        }
        assert!(
            trainer(&device, &config(), W2, true)?
                .set_quantized_share(1.5)
                .is_err()
        );
    }
    Ok(())
}
