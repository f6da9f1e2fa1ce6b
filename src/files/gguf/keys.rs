//! The metadata of a model's architecture, asked for by name. What nobody asked for and what could change the model is
//! refused, as unknown fields of `config.json` are.

use super::blocks;
use super::container::TensorInfo;
use super::shards::Shards;
use super::value::Value;
use crate::error::{Error, Result};
use crate::files::json::show;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// Keys that say nothing about what is computed.
const SILENT: [&str; 3] = ["vocab_size", "tensor_data_layout", "attention.causal"];

/// The keys of one model.
pub(super) struct Keys<'a> {
    /// The file, for messages.
    pub(super) file: &'a str,
    metadata: &'a BTreeMap<&'a str, Value<'a>>,
    shards: &'a Shards,
    /// `general.architecture`.
    pub(super) architecture: &'a str,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Keys<'a> {
    /// The keys of the model in `shards`, the metadata of whose first file these are.
    ///
    /// # Errors
    /// [`Error::Config`] when it names no architecture.
    pub(super) fn of(
        file: &'a str,
        metadata: &'a BTreeMap<&'a str, Value<'a>>,
        shards: &'a Shards,
    ) -> Result<Self> {
        let named = metadata.get("general.architecture");
        let named = named.copied().and_then(Value::text);
        let architecture = named.ok_or_else(|| Error::Config {
            file: file.to_owned(),
            field: "general.architecture".to_owned(),
            what: "is missing".to_owned(),
        })?;
        Ok(Self {
            file,
            metadata,
            shards,
            architecture,
            asked: RefCell::default(),
        })
    }

    /// The whole name of a key of the architecture.
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// The error that names a key of the architecture.
    pub(super) fn error(&self, key: &str, what: impl Into<String>) -> Error {
        self.error_of(&self.name(key), what)
    }

    /// The error that names any key.
    pub(super) fn error_of(&self, name: &str, what: impl Into<String>) -> Error {
        Error::Config {
            file: self.file.to_owned(),
            field: show(name),
            what: what.into(),
        }
    }

    /// The value of any key.
    pub(super) fn any(&self, name: &str) -> Option<Value<'a>> {
        self.metadata.get(name).copied()
    }

    /// The tensor of this name.
    pub(super) fn tensor(&self, name: &str) -> Option<&'a TensorInfo> {
        self.shards.tensor(name)
    }

    /// The values of a small tensor that must be positive numbers, if it is there.
    pub(super) fn factors(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let Some(tensor) = self.tensor(name) else {
            return Ok(None);
        };
        let values = blocks::dequantize(tensor.kind, self.shards.bytes(name));
        let values = values.filter(|all| all.iter().all(|v| v.is_finite() && *v > 0.0));
        values
            .map(Some)
            .ok_or_else(|| self.error_of(name, "are no factors"))
    }

    /// The value of a key of the architecture.
    pub(super) fn get(&self, key: &str) -> Option<Value<'a>> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.any(&self.name(key))
    }

    /// An integer from 0 on. A list is one too where all layers have the same.
    pub(super) fn count(&self, key: &str) -> Result<Option<u64>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(array) = value.array() else {
            let count = value.unsigned();
            return count
                .map(Some)
                .ok_or_else(|| self.error(key, "is not an integer from 0 on"));
        };
        let mut counts = array.iter().map(Value::unsigned);
        let first = counts.next().flatten();
        match counts.all(|count| count == first) {
            true if first.is_some() => Ok(first),
            _ => Err(self.error(key, "differs from layer to layer, which is not supported")),
        }
    }

    /// [`Keys::count`] of a key that must be there.
    pub(super) fn required(&self, key: &str) -> Result<u64> {
        self.count(key)?
            .ok_or_else(|| self.error(key, "is missing"))
    }

    /// A number.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = value.number();
        number
            .map(Some)
            .ok_or_else(|| self.error(key, "is not a number"))
    }

    /// A text.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let text = value.text();
        text.map(Some)
            .ok_or_else(|| self.error(key, "is not a text"))
    }

    /// Refuses keys of the architecture that nobody asked for, unless they switch nothing on.
    pub(super) fn refuse_others(&self) -> Result<()> {
        let asked = self.asked.borrow();
        for (name, value) in self.metadata {
            let key = name.strip_prefix(self.architecture);
            let Some(key) = key.and_then(|key| key.strip_prefix('.')) else {
                continue;
            };
            let off = value.number() == Some(0.0) || value.bool() == Some(false);
            if !(off || asked.contains(key) || SILENT.contains(&key)) {
                return Err(self.error(&show(key), "is not understood"));
            }
        }
        Ok(())
    }
}
