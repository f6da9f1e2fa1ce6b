//! From the files of a model to the model on a device.

use super::fitting::{drafting, roomy};
use super::model::{Model, ModelFiles};
use super::options::Options;
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::files::tokenizer::TOKENIZER;
use crate::model::weights::Allowing;
use crate::model::{self, FirstStages, LoadOptions, MAX_DRAFTED, Pipeline, Recipe, Weights};

impl ModelFiles {
    /// Brings the model onto `device`, which may carry several.
    ///
    /// # Errors
    /// [`Error::Device`] when it does not fit or the device fails, [`Error::NonFinite`] for a weight that is no number.
    #[cfg(feature = "blocking")]
    pub fn load(self, device: &Device, options: Options) -> Result<Model> {
        crate::backend::block_on(device, self.load_async(device, options, &mut |_| {}))
    }

    /// [`ModelFiles::load`] for those who must not block; `progress` hears the name of each linear layer that is ready.
    ///
    /// # Errors
    /// As [`ModelFiles::load`].
    pub async fn load_async(
        self,
        device: &Device,
        options: Options,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Model> {
        self.load_among(device, options, None, progress).await
    }

    /// [`ModelFiles::load_async`] of the layers of one rank: all ranks must load it, and make the same calls then.
    ///
    /// # Errors
    /// As [`ModelFiles::load`].
    pub async fn load_among(
        self,
        device: &Device,
        options: Options,
        pipeline: Option<Pipeline>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Model> {
        let recipe = self.reading(&options)?;
        let draft = options.draft.map(|stages| drafting(recipe, stages));
        let draft = draft.transpose()?;
        let batch = match draft {
            Some(_) => options.batch.max(MAX_DRAFTED + 1),
            None => options.batch,
        };
        let options = Options { batch, ..options };
        let inner = self
            .weights_among(device, options.clone(), pipeline.clone(), progress)
            .await?;
        let draft = match draft {
            Some(first) => {
                let options = Options {
                    recipe: Some(first),
                    stages: None,
                    context: Some(inner.options().context),
                    batch: 1,
                    ..options
                };
                let quiet = &mut |_: &str| {};
                Some(self.weights_among(device, options, pipeline, quiet).await?)
            }
            None => None,
        };
        Ok(Model {
            inner,
            draft,
            place: self.opened.source.place(TOKENIZER),
            tokenizer: self.opened.tokenizer,
            #[cfg(feature = "templates")]
            chat_template: self.opened.chat_template,
            recipe,
        })
    }

    /// Brings the weights onto `device`, as often as is asked: the model as the rooms below have it, which runs tokens and
    /// knows no text.
    ///
    /// # Errors
    /// As [`ModelFiles::load`].
    pub async fn weights_on(
        &self,
        device: &Device,
        options: Options,
        progress: &mut dyn FnMut(&str),
    ) -> Result<model::Model<Device>> {
        self.weights_among(device, options, None, progress).await
    }

    /// [`ModelFiles::weights_on`] of the layers of one rank.
    async fn weights_among(
        &self,
        device: &Device,
        options: Options,
        pipeline: Option<Pipeline>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<model::Model<Device>> {
        let config = &self.opened.config;
        let recipe = self.reading(&options)?;
        let weights: &dyn Weights = &*self.opened.weights;
        let read = match self.opened.recipe {
            Some(_) => recipe,
            None => Recipe::FULL,
        };
        let weights: &dyn Weights = &FirstStages::new(weights, read);
        let mut load = LoadOptions {
            recipe,
            activations: options.activations,
            context: options.context.unwrap_or(config.context),
            batch: options.batch.max(1),
            kv: options.kv,
            swa_full: options.swa_full,
            exact: options.exact,
        };
        if options.context.is_none() {
            load.context = roomy(device, config, weights, load)?;
        }
        let weights = Allowing(weights, options.allow_nonfinite);
        model::Model::load_among(device.clone(), config, &weights, load, pipeline, progress).await
    }

    /// How `options` have the linear layers of these files.
    fn reading(&self, options: &Options) -> Result<Recipe> {
        let recipe = self.resolve(options.recipe)?;
        options
            .stages
            .map_or(Ok(recipe), |n| recipe.first_stages(n))
    }

    /// The recipe that `asked` means for these files.
    ///
    /// # Errors
    /// [`Error::Usage`] when packed layers are to be something else than what they are, or their first stages: their
    /// full-precision weights are gone.
    pub fn resolve(&self, asked: Option<Recipe>) -> Result<Recipe> {
        match (self.opened.recipe, asked) {
            (Some(packed), Some(asked)) if !asked.reads(packed) => Err(Error::usage(
                format!("{} is packed already", self.opened.source.name()),
                "quantize the full-precision model instead",
            )),
            (Some(packed), asked) => Ok(asked.unwrap_or(packed)),
            (None, asked) => Ok(asked.unwrap_or(Recipe::FULL).in_family(&self.opened.config)),
        }
    }
}
