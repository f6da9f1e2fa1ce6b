//! What the hub's refusals mean for the one who asked.

use super::client::header;
use super::name::HubName;
use super::settings::Hub;
use crate::error::Error;
use crate::files::json::show;
use ureq::Body;
use ureq::http::Response;

/// What the hub was asked for.
#[derive(Clone, Copy)]
pub(super) enum Asked<'f> {
    Revision,
    File(&'f str),
}

/// The error of an answer that is not what was asked for.
pub(super) fn refusal(
    hub: &Hub,
    name: &HubName,
    asked: Asked<'_>,
    answer: &Response<Body>,
) -> Error {
    let (id, status) = (name.id(), answer.status().as_u16());
    let code = header(answer.headers(), "x-error-code").unwrap_or_default();
    let page = format!("{}/{id}", hub.endpoint);
    let (what, hint) = match (status, code, &hub.token) {
        (401 | 403, "GatedRepo", None) => (
            format!("{id} is for those who accepted its terms"),
            format!("accept them at {page}, and put a token of your account into HF_TOKEN"),
        ),
        (401 | 403, "GatedRepo", Some(_)) => (
            format!("{id} is not for the account of your token yet"),
            format!("ask for access at {page}"),
        ),
        (_, "DisabledRepo", _) => (
            format!("{id} was closed by the hub"),
            "choose another".into(),
        ),
        (404, "RevisionNotFound", _) => (
            format!("{id} has no revision `{}`", show(name.revision())),
            format!("see {page}/branches"),
        ),
        (404, "EntryNotFound", _) => (missing(&id, asked), format!("see {page}/tree/main")),
        (401, _, Some(_)) => (
            format!("{id} does not exist, or your token is not good for it"),
            "check the name, and HF_TOKEN".into(),
        ),
        (401 | 404, _, _) => (
            format!("{id} does not exist, or is not public"),
            "check the name, or put a token into HF_TOKEN".into(),
        ),
        (403, ..) => (
            format!("{id} is not for the account of your token"),
            "check the token's rights, and HF_TOKEN".into(),
        ),
        (429, ..) => (
            "the hub wants fewer questions (429)".into(),
            "try again later".into(),
        ),
        _ => {
            let what = format!("{} answers {status}", hub.endpoint);
            let source = std::io::Error::other("no answer to go on with; try again later");
            return Error::io(what, source);
        }
    };
    Error::usage(what, hint)
}

fn missing(id: &str, asked: Asked<'_>) -> String {
    match asked {
        Asked::File(file) => format!("{id} has no file `{}`", show(file)),
        Asked::Revision => format!("{id} has nothing there"),
    }
}

/// The error of a hub that does not answer at all.
pub(super) fn unreachable(hub: &Hub, error: &ureq::Error) -> Error {
    let why = show(&error.to_string());
    let source = format!("{why}; check the network, or take a model that is in the cache");
    Error::io(hub.endpoint.clone(), std::io::Error::other(source))
}
