//! From the listener to the routes, and to the end.

use super::app::App;
use super::connection::{self, Connections};
use super::error::ApiError;
use super::{chat, completions, guard, limits, models, page, status, tokens};
use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The paths that there are.
const PATHS: [&str; 12] = [
    "/",
    "/health",
    "/metrics",
    "/props",
    "/slots",
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/v1/models",
    "/v1/models/{id}",
    "/v1/completions",
    "/v1/chat/completions",
];

/// How long it is waited for room before another connection is asked to make some.
const ROOM: Duration = Duration::from_millis(20);

/// What answers the requests to one of [`PATHS`].
fn endpoint(path: &str) -> MethodRouter<Arc<App>> {
    match path {
        "/" => get(page::page),
        "/health" => get(status::health),
        "/metrics" => get(status::metrics),
        "/props" => get(status::props),
        "/slots" => get(status::slots),
        "/v1/models" => get(models::list),
        "/v1/models/{id}" => get(models::one),
        "/tokenize" => post(tokens::tokenize),
        "/detokenize" => post(tokens::detokenize),
        "/apply-template" => post(chat::apply_template),
        "/v1/completions" => post(completions::completions),
        "/v1/chat/completions" => post(chat::chat),
        _ => MethodRouter::new(),
    }
}

/// All routes, with what every request passes before it reaches one.
pub(super) fn routes(app: &Arc<App>) -> Router {
    let mut routes = Router::new();
    for path in PATHS {
        let post =
            path.starts_with("/v1/c") || path.ends_with("tokenize") || path == "/apply-template";
        let methods = if post { "POST" } else { "GET, HEAD" };
        let other = move || async move { ApiError::method(methods) };
        routes = routes.route(path, endpoint(path).fallback(other));
    }
    routes
        .fallback(|request: Request| async move { ApiError::path(request.uri().path()) })
        .layer(from_fn_with_state(app.clone(), guard::admit))
        .layer(from_fn_with_state(
            (app.clone(), &PATHS[..]),
            guard::observe,
        ))
        .with_state(app.clone())
}

/// Takes connections until `stop`, then lets running answers finish for as long as the settings grant.
pub(super) async fn serve(listener: TcpListener, app: Arc<App>, stop: impl Future<Output = ()>) {
    let routes = routes(&app);
    let connections = Arc::new(Connections::default());
    let places = Arc::new(Semaphore::new(app.settings.connections));
    let (stopping, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let accept = async {
        loop {
            let stream = accept(&listener, &connections).await;
            let place = place(&places, &connections).await;
            while tasks.try_join_next().is_some() {}
            let served = connection::serve(
                stream,
                app.clone(),
                routes.clone(),
                connections.enter(),
                stopped.clone(),
            );
            tasks.spawn(async move {
                let _place = place;
                served.await;
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    drop(listener);
    stopping.send_replace(true);
    if timeout(app.settings.grace, ended(&mut tasks))
        .await
        .is_err()
    {
        app.abort();
        let _ = timeout(limits::LAST_WORDS, ended(&mut tasks)).await;
    }
    tasks.shutdown().await;
    app.close();
}

/// A place for a connection. Where all are taken, one that has no request makes room, and if they all have one, the first
/// that has none any more.
async fn place(places: &Arc<Semaphore>, connections: &Connections) -> Option<OwnedSemaphorePermit> {
    if let Ok(place) = places.clone().try_acquire_owned() {
        return Some(place);
    }
    loop {
        connections.close_idlest();
        if let Ok(place) = timeout(ROOM, places.clone().acquire_owned()).await {
            return place.ok();
        }
    }
}

/// The next connection. Where the system has no room for one, another one makes room.
async fn accept(listener: &TcpListener, connections: &Connections) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true); // tokens leave as they come
                return stream;
            }
            Err(_) => {
                connections.close_idlest();
                sleep(ROOM).await;
            }
        }
    }
}

async fn ended(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}
