//! The options of `serve`.

use super::app::Settings;
use super::limits;
use super::log::LogFormat;
use crate::cli::args::{ActivationName, BatchArgs, DeviceArgs, PathArgs, RecipeArgs};
use crate::cli::source::ModelArgs;
use crate::error::{Error, Result};
use crate::model::MAX_DRAFTED;
use std::time::Duration;

/// Where the server listens, and whom it serves.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server")]
pub(super) struct ServerArgs {
    /// Address to listen on; 0.0.0.0 is all of IPv4
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// Key that requests must have, `Authorization: Bearer KEY`; may be given several times [default: none is needed]
    #[arg(
        long,
        value_name = "KEY",
        env = "FAIRY2I_API_KEY",
        hide_env_values = true
    )]
    pub api_key: Vec<String>,
    /// Origin whose pages may ask, such as `https://example.org`, or `*`; may be given several times [default: only the page
    /// at / may]
    #[arg(long, value_name = "ORIGIN")]
    pub cors: Vec<String>,
    /// Seconds that running answers get when the server is told to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub grace: u32,
    /// Seconds that a client may take for sending the headers of a request, its body, and for taking what it is sent
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: u32,
    /// Name of the model in requests and answers [default: that of its folder]
    #[arg(long, value_name = "NAME")]
    pub alias: Option<String>,
    /// How lines of the log look
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// How the model is run.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct EngineArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Sequences that go on together (also -np)
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub parallel: u16,
    /// Most tokens of each sequence, prompt and answer together [default: the model's context]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub ctx_size: Option<u64>,
    /// Sequences that may wait for others to end; further ones are refused
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_waiting: u32,
    /// Draft N tokens at once where the last ones were in the sequence before, and let the model check them together: the
    /// same text, faster where it repeats itself (0: draft none)
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        value_parser = clap::value_parser!(u16).range(..=MAX_DRAFTED as i64)
    )]
    pub lookup: u16,
    #[command(flatten)]
    pub batch: BatchArgs,
    /// How activations enter quantized layers
    #[arg(long, value_enum, default_value = "16")]
    pub activations: ActivationName,
    #[command(flatten)]
    pub paths: PathArgs,
    #[command(flatten)]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
}

impl ServerArgs {
    /// How clients are treated.
    ///
    /// # Errors
    /// [`Error::Usage`] for keys and origins that no request can have.
    pub(super) fn settings(&self) -> Result<Settings> {
        let unusable =
            |key: &&String| key.is_empty() || key.bytes().any(|b| !(0x21..=0x7e).contains(&b));
        if self.api_key.iter().any(|key| unusable(&key)) {
            return Err(Error::usage(
                "--api-key is empty or has other characters than printable ASCII",
                "give a key that fits a header",
            ));
        }
        let origin = |text: &String| {
            let host = text
                .strip_prefix("http://")
                .or(text.strip_prefix("https://"));
            text == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ']))
        };
        if let Some(wrong) = self.cors.iter().find(|text| !origin(text)) {
            return Err(Error::usage(
                format!("--cors {wrong} is no origin"),
                "give one as browsers send it, such as https://example.org, without a path",
            ));
        }
        Ok(Settings {
            keys: self.api_key.clone(),
            origins: self.cors.clone(),
            patience: Duration::from_secs(self.timeout.into()),
            grace: Duration::from_secs(self.grace.into()),
            connections: limits::CONNECTIONS,
        })
    }
}
