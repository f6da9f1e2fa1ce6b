//! `/`: the page to chat on, one file without anything from elsewhere.

use super::trace::Trace;
use axum::Extension;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use std::sync::Arc;

const PAGE: &str = include_str!("page.html");

/// The page. Nothing is loaded from elsewhere and nothing sent there, no other page frames it, and nothing runs but its own
/// script: only that has the word that the policy names, which nobody knows before.
pub(super) async fn page(Extension(trace): Extension<Arc<Trace>>) -> Response {
    let word = &trace.id;
    let own = |page: String, tag: &str| {
        page.replacen(&format!("<{tag}>"), &format!("<{tag} nonce=\"{word}\">"), 1)
    };
    let page = own(own(PAGE.to_owned(), "style"), "script");
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{word}'; style-src 'nonce-{word}'; connect-src 'self'; img-src data:; \
        base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    );
    let mut response = Html(page).into_response();
    let headers = response.headers_mut();
    let fixed = HeaderValue::from_static;
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::REFERRER_POLICY, fixed("no-referrer"));
    headers.insert(header::CACHE_CONTROL, fixed("no-store"));
    response
}
