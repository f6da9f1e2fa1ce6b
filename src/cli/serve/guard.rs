//! What every request passes: its name and its line in the log, who may ask, and which pages may.

use super::app::App;
use super::connection::Busy;
use super::error::ApiError;
use super::trace::{Line, Trace, Traced};
use crate::cli::generate::random_seed;
use crate::random::SplitMix64;
use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;

/// What paths that there are not are counted as.
const NO_ROUTE: &str = "other";

/// Gives the request a name, and writes its line when it has been answered.
pub(super) async fn observe(
    State((app, routes)): State<(Arc<App>, &'static [&'static str])>,
    mut request: Request,
    next: Next,
) -> Response {
    let trace = Arc::new(Trace::new(name()));
    request.extensions_mut().insert(trace.clone());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.and_then(|path| routes.iter().find(|route| **route == path.as_str()));
    let mut line = Line {
        app,
        trace: trace.clone(),
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        route: route.copied().unwrap_or(NO_ROUTE),
        status: None,
        complete: false,
        busy: request.extensions().get::<Arc<Busy>>().cloned(),
    };
    let mut response = caught(next.run(request)).await;
    line.status = Some(response.status());
    if let Ok(id) = HeaderValue::from_str(&trace.id) {
        response.headers_mut().insert("x-request-id", id);
    }
    let (parts, body) = response.into_parts();
    // of an answer without a body nobody asks for a part
    line.complete = body.is_end_stream() || line.method == Method::HEAD;
    Response::from_parts(parts, Body::new(Traced { body, line }))
}

/// A panic of a handler is an answer, not a connection that breaks.
async fn caught(answer: impl Future<Output = Response>) -> Response {
    let mut answer = pin!(answer);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context)));
        polled.unwrap_or_else(|_| {
            Poll::Ready(ApiError::internal("the request made the server stumble").into_response())
        })
    })
    .await
}

/// A name that no other request of this or another server has, but by an improbable accident.
fn name() -> String {
    static RANDOM: OnceLock<Mutex<SplitMix64>> = OnceLock::new();
    let random = RANDOM.get_or_init(|| {
        let seed = u64::from(random_seed()) << 32 | u64::from(random_seed());
        Mutex::new(SplitMix64::new(seed))
    });
    let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
    (0..3)
        .map(|_| format!("{:08x}", random.next_u32()))
        .collect()
}

/// Lets those through who may ask, and tells browsers which pages may.
pub(super) async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let origin = allowed(&app.settings.origins, headers);
    let mut response = match refusal(&app, &request, origin.is_some()) {
        Some(error) => error.into_response(),
        None if is_preflight(&request) && origin.is_some() => preflight(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    let fixed = HeaderValue::from_static;
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    if !app.settings.origins.is_empty() {
        headers.append(header::VARY, fixed("origin"));
    }
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = fixed("retry-after, x-request-id");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}

/// The origin that asks, if its pages may.
fn allowed(origins: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let fits = |allowed: &String| allowed == "*" || allowed.as_bytes() == origin.as_bytes();
    origins.iter().any(fits).then(|| origin.clone())
}

fn is_preflight(request: &Request) -> bool {
    let asks = header::ACCESS_CONTROL_REQUEST_METHOD;
    request.method() == Method::OPTIONS && request.headers().contains_key(asks)
}

fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let fixed = HeaderValue::from_static;
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, fixed("GET, POST"));
    // those of OpenAI's clients differ from version to version; a wildcard does not cover the first one
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        fixed("authorization, content-type, *"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, fixed("600"));
    response
}

/// Why a request is not answered, if it is not.
fn refusal(app: &App, request: &Request, origin: bool) -> Option<ApiError> {
    // Browsers say when a page of another site asks. Of those who do not ask first, none shall use the machine.
    let site = request.headers().get("sec-fetch-site");
    if site.is_some_and(|site| site == "cross-site") && request.method() == Method::POST && !origin
    {
        return Some(ApiError::cross_site());
    }
    let keys = &app.settings.keys;
    let open = matches!(request.uri().path(), "/" | "/health") || is_preflight(request);
    if keys.is_empty() || open {
        return None;
    }
    let given = request.headers().get(header::AUTHORIZATION);
    let bytes = given.map_or(&b""[..], HeaderValue::as_bytes);
    let key = match bytes.split_at_checked(7) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"bearer ") => key.trim_ascii(),
        _ => return Some(ApiError::key(false)),
    };
    let fits = |known: &String| same(known.as_bytes(), key);
    // all are compared, whichever fits
    let known = keys.iter().fold(false, |any, known| any | fits(known));
    (!known).then(|| ApiError::key(true))
}

/// Whether two keys are equal, in a time that does not depend on where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}
