//! What the text is held to.

use crate::error::{Error, Result};
use crate::generate::{Grammar, ModelFiles};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Longest schema.
const LONGEST: u64 = 1 << 20;

/// The form of the text.
#[derive(Debug, clap::Args)]
pub(super) struct FormArgs {
    /// Hold the text to the JSON schema in FILE
    #[arg(long, value_name = "FILE", conflicts_with = "speculate")]
    json_schema: Option<PathBuf>,
    /// Hold the text to a JSON object, whatever is in it
    #[arg(long, conflicts_with_all = ["json_schema", "speculate"])]
    json_object: bool,
}

impl FormArgs {
    /// The schema that was asked for.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, [`Error::File`] for one that is no JSON.
    pub(super) fn read(&self) -> Result<Option<Value>> {
        let Some(file) = &self.json_schema else {
            return Ok(self.json_object.then(|| json!({ "type": "object" })));
        };
        let name = file.display().to_string();
        let size = std::fs::metadata(file)
            .map_err(|e| Error::io(file, e))?
            .len();
        if size > LONGEST {
            let what = format!("is longer than {} kB", LONGEST >> 10);
            return Err(Error::file(name, what, "give a JSON schema"));
        }
        let bytes = std::fs::read(file).map_err(|e| Error::io(file, e))?;
        let schema = serde_json::from_slice(&bytes);
        let wrong =
            |e: serde_json::Error| Error::file(name, format!("is no JSON: {e}"), "correct it");
        schema.map(Some).map_err(wrong)
    }
}

/// The grammar of a schema for the model in `files`.
///
/// # Errors
/// [`Error::Usage`] for a schema that is refused and for a model that cannot be held to any.
pub(super) fn grammar(schema: Option<&Value>, files: &ModelFiles) -> Result<Option<Grammar>> {
    let Some(schema) = schema else {
        return Ok(None);
    };
    let vocabulary = files.vocabulary()?;
    Grammar::json_schema(&vocabulary, schema).map(Some)
}
