//! Writing a plain Hugging Face checkpoint: a packed or trained model in dense floats, for any other program.

use super::checkpoint::{Checkpoint, Spec};
use super::copy_from::{CopyFrom, encode};
use super::plan::{self, Planned};
use super::staging::{Destination, Replaced};
use super::{CONFIG, config};
use crate::error::Result;
use crate::model::{Config, Dtype, Method, Recipe, finite};

/// Files are cut where they would grow beyond this.
pub const SHARD_BYTES: u64 = 4_000_000_000;

/// A dense checkpoint being written. Nothing is there before [`Writer::finish`], and nothing stays without it.
pub struct Writer {
    checkpoint: Checkpoint,
    planned: Vec<Planned>,
    fields: Vec<u8>,
    dtype: Dtype,
    allow_nonfinite: bool,
}

impl Writer {
    /// Starts a folder. `recipe` is how the linear layers that will be written were quantized, if they
    /// were: a tied head that was quantized is no longer the embedding, so it is written, and untied.
    ///
    /// # Errors
    /// Those of [`super::staging::Staging::begin`], for which `original` is read, whether `destination` says so or
    /// not.
    pub fn create(
        destination: &Destination<'_>,
        original: CopyFrom<'_>,
        recipe: Option<&Recipe>,
        dtype: Dtype,
        shard_bytes: u64,
    ) -> Result<Self> {
        let packs_head = recipe.is_some_and(|r| r.method != Method::Full && !r.skip_head);
        let config = Config {
            tied: original.config.tied && !packs_head,
            ..original.config.clone()
        };
        let planned = plan::plan(&config, None);
        let specs: Vec<Spec> = planned
            .iter()
            .flat_map(|planned| Spec::of(planned, dtype))
            .collect();
        let fields = config::to_json(&config, None, dtype, original.fields);
        let inputs = original.read_beside(destination.inputs);
        let destination = Destination {
            inputs: &inputs,
            ..*destination
        };
        let checkpoint = Checkpoint::create(&destination, &specs, shard_bytes)?;
        original.carry(|name, bytes| checkpoint.write(name, bytes))?;
        Ok(Self {
            checkpoint,
            planned,
            fields: format!("{:#}\n", serde_json::Value::from(fields)).into_bytes(),
            dtype,
            allow_nonfinite: original.allow_nonfinite,
        })
    }

    /// The tensors to be written, in forward order.
    pub fn planned(&self) -> &[Planned] {
        &self.planned
    }

    /// Writes one tensor, rounded to the checkpoint's type; they may come in any order.
    ///
    /// # Errors
    /// [`crate::Error::NonFinite`] unless that was allowed, [`crate::Error::Usage`] for a tensor that is not
    /// planned or of another size, [`crate::Error::Io`].
    pub fn tensor(&mut self, name: &str, values: &[f32]) -> Result<()> {
        finite::check_values(name, 0, values, self.allow_nonfinite)?;
        let bytes = encode(name, 0, values, self.dtype)?;
        match self.planned.iter().find(|planned| planned.name == name) {
            Some(planned) => self.checkpoint.put_planned(planned, self.dtype, &bytes),
            None => self.checkpoint.put(name, &bytes),
        }
    }

    /// Writes another file of the folder.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.checkpoint.write(name, bytes)
    }

    /// Puts the folder in its place. Returns what that replaced, if something was there.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] when a tensor is missing, [`crate::Error::Occupied`], [`crate::Error::Io`].
    pub fn finish(self) -> Result<Option<Replaced>> {
        self.checkpoint.write(CONFIG, &self.fields)?;
        self.checkpoint.finish()
    }
}
