//! `serve`: a model behind OpenAI's interface, over HTTP. Nothing here makes a token.

mod app;
mod args;
mod body;
mod chat;
mod choice;
mod common;
mod completions;
mod connection;
mod engine;
mod error;
mod facts;
mod fields;
mod guard;
mod limits;
mod log;
mod memory;
mod metrics;
mod models;
mod page;
mod pieces;
mod reply;
mod server;
mod signals;
mod status;
#[cfg(test)]
mod tests;
mod tokens;
mod trace;

use self::app::App;
use self::args::{EngineArgs, ServerArgs};
use self::engine::Loading;
use super::out;
use crate::builtin::BUILTIN;
use crate::error::{Error, Result};
use crate::files::hub;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Serve a model over HTTP, as OpenAI's interface has it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu serve                                       the built-in model, on your GPU or else your CPU
  fairy2i-gpu serve -m llama-folder --stages 2 --parallel 8 --port 8080
  fairy2i-gpu serve -m packed-folder --exact              answers do not depend on who else is served
  FAIRY2I_API_KEY=secret fairy2i-gpu serve --host 0.0.0.0 --port 0

A page to chat on is at /. SIGTERM and Ctrl-C end the server when running answers have, a second one at once.")]
pub(super) struct Serve {
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl Serve {
    /// The model that it names.
    pub(super) fn model(&mut self) -> Option<&mut PathBuf> {
        self.engine.model.model.as_mut()
    }

    /// Serves until it is told to stop.
    pub(super) fn run(self) -> Result<()> {
        let settings = self.server.settings()?;
        log::begin(self.server.log_format);
        memory::share_pool();
        let system = |error: std::io::Error| Error::io("the network", error);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(system)?;
        let id = self.name();
        let result = runtime.block_on(async {
            let (listener, address) = bind(&self.server.host, self.server.port).await?;
            if !address.ip().is_loopback() && settings.keys.is_empty() {
                out::note("note: whoever reaches this address is served; --api-key asks for a key");
            }
            let (commands, told) = mpsc::unbounded_channel();
            let app = Arc::new(App::new(settings, commands));
            tokio::spawn(memory::give_back(app.clone()));
            let (ended, end) = oneshot::channel();
            let (loading, shared) = (
                Loading {
                    args: self.engine,
                    id,
                },
                app.clone(),
            );
            let engine = move || {
                let _ = ended.send(engine::run(loading, &shared, told)); // nobody listens at a hasty end
            };
            let engine = std::thread::Builder::new()
                .name("engine".to_owned())
                .spawn(engine);
            engine.map_err(system)?;
            until_stopped(listener, address, app, end).await
        });
        runtime.shutdown_background(); // a text that is being tokenized is of no interest any more
        result
    }

    /// The name of the model in requests and answers.
    fn name(&self) -> String {
        let folder = |path: &Path| {
            let path = dunce::canonicalize(path).ok()?;
            Some(path.file_name()?.to_string_lossy().into_owned())
        };
        let model = self.engine.model.model.as_deref();
        let alias = self.server.alias.clone();
        alias
            .or_else(|| model.and_then(hub::cached_name))
            .or_else(|| model.and_then(folder))
            .unwrap_or_else(|| BUILTIN.to_owned())
    }
}

async fn bind(host: &str, port: u16) -> Result<(TcpListener, SocketAddr)> {
    let bound = TcpListener::bind((host, port)).await;
    let bound = bound.and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|error| {
        Error::usage(
            format!("cannot listen on {host}, port {port}: {error}"),
            "choose another --host or --port; port 0 takes a free one",
        )
    })
}

/// An address that can be asked: where all of a machine are listened on, its own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Serves until a signal comes or the engine ends, of which `end` tells.
async fn until_stopped(
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    mut end: oneshot::Receiver<Result<()>>,
) -> Result<()> {
    let announced = app.clone();
    tokio::spawn(async move {
        announced.until_ready().await;
        out::note(&format!("listening on http://{}", reachable(address)));
    });
    let mut ended = None;
    let stop = async {
        tokio::select! {
            () = signals::stop() => {}
            result = &mut end => ended = Some(result),
        }
    };
    let failed = app.clone();
    let stop = async {
        stop.await;
        if failed.ready().is_err() {
            failed.abort(); // without an engine no answer comes to its end
        }
    };
    server::serve(listener, app.clone(), stop).await;
    let result = match ended {
        Some(result) => result,
        // an engine that does not end soon is loading a model, which nobody waits for
        None => match timeout(limits::LAST_WORDS, end).await {
            Ok(result) => result,
            Err(_) => return Ok(()),
        },
    };
    result.unwrap_or_else(|_| {
        Err(Error::device(
            "the engine has gone",
            "please report this as a bug",
        ))
    })
}
