//! What a model computes.

use fairy2i_gpu::backend::{Cpu, block_on};
use fairy2i_gpu::files::ModelFolder;
use fairy2i_gpu::model::{LoadOptions, Model, Recipe};
use fairy2i_gpu::ops::quantize::Activations;

/// The bits of the logits behind a few tokens.
pub fn logits(model: &ModelFolder, activations: Activations) -> Vec<u32> {
    let options = LoadOptions {
        recipe: Recipe::FULL,
        activations,
        context: 8,
        batch: 8,
        kv: None,
        swa_full: false,
        exact: true,
    };
    let cpu = Cpu::new();
    let computed = async {
        let (config, weights) = (&model.config, &*model.weights);
        let loaded = Model::load(&cpu, config, weights, options, &mut |_| {}).await?;
        let mut session = loaded.session()?;
        session.feed(&[1, 7, 3, 15, 2]).await?;
        session.logits().await
    };
    let logits = block_on(&cpu, computed).expect("it computes");
    logits.into_iter().map(f32::to_bits).collect()
}
