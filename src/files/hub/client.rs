//! The hub's HTTP: what a repository has, where a file is, its bytes from one on.

use super::name::HubName;
use super::refusal::{Asked, refusal, unreachable};
use super::settings::Hub;
use super::{cache, tls};
use crate::error::{Error, Result};
use serde::Deserialize;
use std::time::Duration;
use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::{Agent, Body};

/// Longest description of a repository that is read.
const LONGEST_INFO: u64 = 64 << 20;
/// Longest wait for a connection, and for the next bytes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Redirections that are followed.
const MOST_REDIRECTS: usize = 10;
/// Longest name of a blob; the hub's have up to 64 digits.
const LONGEST_ETAG: usize = 128;

/// What a repository is at one revision.
pub(super) struct Info {
    pub commit: String,
    pub files: Vec<String>,
}

/// A file as the hub announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    pub file: String,
    /// Where its bytes are asked for.
    pub url: String,
    pub etag: String,
    pub size: u64,
}

/// Bytes of a file.
pub(super) struct Answer {
    /// The first of them is this one.
    pub first: u64,
    pub body: Body,
}

/// Why there are none.
pub(super) enum Failure {
    /// It may be better next time.
    Passing(Error),
    Lasting(Error),
}

/// A connection to the hub.
pub(super) struct Client<'h> {
    hub: &'h Hub,
    agent: Agent,
}

impl<'h> Client<'h> {
    pub(super) fn new(hub: &'h Hub) -> Result<Self> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .accept_encoding("identity")
            .user_agent(concat!("fairy2i-gpu/", env!("CARGO_PKG_VERSION")));
        match tls::config() {
            Ok(tls) => config = config.tls_config(tls),
            Err(why) if hub.endpoint.starts_with("https:") => {
                let what = format!("{} cannot be asked: {why}", hub.endpoint);
                return Err(Error::usage(what, "fetch the model with another program"));
            }
            Err(_) => {}
        }
        Ok(Self {
            hub,
            agent: config.build().new_agent(),
        })
    }

    /// What a repository has.
    pub(super) fn info(&self, name: &HubName) -> Result<Info> {
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        #[derive(Deserialize)]
        struct Answer {
            sha: String,
            siblings: Vec<Sibling>,
        }
        let (id, revision) = (name.id(), escaped(name.revision()));
        let url = format!("{}/api/models/{id}/revision/{revision}", self.hub.endpoint);
        let mut response = self.get(&url, 0).map_err(|e| unreachable(self.hub, &e))?;
        if response.status() != StatusCode::OK {
            return Err(refusal(self.hub, name, Asked::Revision, &response));
        }
        let body = response.body_mut().with_config().limit(LONGEST_INFO);
        let bytes = body.read_to_vec().map_err(|e| unreachable(self.hub, &e))?;
        let answer = serde_json::from_slice::<Answer>(&bytes).ok();
        let Some(answer) = answer.filter(|answer| cache::is_commit(&answer.sha)) else {
            let what = format!("{url} does not answer as a hub does");
            return Err(Error::usage(what, "check HF_ENDPOINT"));
        };
        let files = answer.siblings.into_iter().map(|s| s.rfilename);
        Ok(Info {
            commit: answer.sha,
            files: files.collect(),
        })
    }

    /// What a file is, without its bytes.
    pub(super) fn head(&self, name: &HubName, commit: &str, file: &str) -> Result<Remote> {
        let (hub, id) = (self.hub, name.id());
        let url = format!("{}/{id}/resolve/{commit}/{file}", hub.endpoint);
        let mut at = url.clone();
        for _ in 0..MOST_REDIRECTS {
            let response = self.ask(self.agent.head(&at), &at, None);
            let response = response.map_err(|e| unreachable(hub, &e))?;
            let moved = response.status().is_redirection();
            let headers = response.headers();
            match moved.then(|| location(headers, &at)).flatten() {
                // A repository that was renamed: the new place is on the hub itself.
                Some(next)
                    if same_host(&next, &at) && header(headers, "x-linked-etag").is_none() =>
                {
                    at = next;
                }
                _ if moved || response.status() == StatusCode::OK => {
                    return announced(headers, file, url);
                }
                _ => return Err(refusal(hub, name, Asked::File(file), &response)),
            }
        }
        Err(Error::usage(
            format!("{url} leads in circles"),
            "try again later",
        ))
    }

    /// The bytes of a file, from byte `from` on or from the first.
    pub(super) fn open(
        &self,
        name: &HubName,
        remote: &Remote,
        from: u64,
    ) -> Result<Answer, Failure> {
        let response = self.get(&remote.url, from);
        let response = response.map_err(|e| Failure::Passing(unreachable(self.hub, &e)))?;
        let status = response.status();
        let first = match status {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => begins(response.headers()).unwrap_or(u64::MAX),
            _ => {
                let error = refusal(self.hub, name, Asked::File(&remote.file), &response);
                let passing =
                    status.is_server_error() || matches!(status.as_u16(), 408 | 416 | 429);
                return Err(match passing {
                    true => Failure::Passing(error),
                    false => Failure::Lasting(error),
                });
            }
        };
        let body = response.into_body();
        Ok(Answer { first, body })
    }

    /// Follows redirections to wherever they lead; only the hub itself is told who asks.
    fn get(&self, url: &str, from: u64) -> Result<Response<Body>, ureq::Error> {
        let mut at = url.to_owned();
        for _ in 0..MOST_REDIRECTS {
            let response = self.ask(self.agent.get(&at), &at, Some(from))?;
            let moved = response.status().is_redirection();
            match moved.then(|| location(response.headers(), &at)).flatten() {
                Some(next) => at = next,
                None => return Ok(response),
            }
        }
        Err(ureq::Error::TooManyRedirects)
    }

    fn ask(
        &self,
        mut request: ureq::RequestBuilder<ureq::typestate::WithoutBody>,
        url: &str,
        from: Option<u64>,
    ) -> Result<Response<Body>, ureq::Error> {
        if let Some(token) = self
            .hub
            .token
            .as_ref()
            .filter(|_| same_host(url, &self.hub.endpoint))
        {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(from) = from.filter(|&from| from > 0) {
            request = request.header("range", format!("bytes={from}-"));
        }
        request.call()
    }
}

/// A header's text.
pub(super) fn header<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r str> {
    headers.get(name)?.to_str().ok()
}

/// What the headers say of a file.
fn announced(headers: &HeaderMap, file: &str, url: String) -> Result<Remote> {
    let either = |a, b| header(headers, a).or_else(|| header(headers, b));
    let etag = either("x-linked-etag", "etag").and_then(blob_name);
    let size = either("x-linked-size", "content-length").and_then(|size| size.parse().ok());
    match etag.zip(size) {
        Some((etag, size)) => Ok(Remote {
            file: file.to_owned(),
            url,
            etag,
            size,
        }),
        None => Err(Error::usage(
            format!("{url} does not say what `{file}` is"),
            "check HF_ENDPOINT",
        )),
    }
}

/// An etag as it names a blob, if it can name a file.
fn blob_name(etag: &str) -> Option<String> {
    let name = etag.trim_start_matches("W/").trim_matches('"');
    let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    let fits = (1..=LONGEST_ETAG).contains(&name.len()) && name.bytes().all(good);
    fits.then(|| name.to_owned())
}

/// The first byte of a `Content-Range: bytes 5-9/10`.
fn begins(headers: &HeaderMap) -> Option<u64> {
    let range = header(headers, "content-range")?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.parse().ok()
}

/// Where a redirection leads that was found at `at`.
fn location(headers: &HeaderMap, at: &str) -> Option<String> {
    let to = header(headers, "location")?;
    if to.starts_with("http://") || to.starts_with("https://") {
        return Some(to.to_owned());
    }
    let uri: Uri = at.parse().ok()?;
    let path = to.starts_with('/') && !to.starts_with("//");
    path.then(|| format!("{}://{}{to}", uri.scheme_str()?, uri.authority()?).into())?
}

/// Whether two addresses are of one host, asked in the same way.
fn same_host(a: &str, b: &str) -> bool {
    let origin = |text: &str| {
        let uri: Uri = text.parse().ok()?;
        Some((uri.scheme()?.clone(), uri.authority()?.clone()))
    };
    matches!((origin(a), origin(b)), (Some(a), Some(b)) if a == b)
}

/// A revision as one part of a path.
fn escaped(revision: &str) -> String {
    let byte = |c: u8| match c.is_ascii_alphanumeric() || b"-_.".contains(&c) {
        true => char::from(c).to_string(),
        false => format!("%{c:02X}"),
    };
    revision.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_name_blobs() {
        for (etag, name) in [
            ("\"abc-1\"", Some("abc-1")),
            ("W/\"abc\"", Some("abc")),
            ("abc", Some("abc")),
            ("\"../x\"", None),
            ("\"\"", None),
            ("a.incomplete", None),
        ] {
            assert_eq!(blob_name(etag).as_deref(), name, "{etag}");
        }
        assert_eq!(escaped("refs/pr/1"), "refs%2Fpr%2F1");
    }

    #[test]
    fn redirections_are_followed_and_hosts_told_apart() {
        let to = |to: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("location", to.parse().expect("a header"));
            location(&headers, "http://hub:80/a/b?c")
        };
        assert_eq!(to("/x?y=1").as_deref(), Some("http://hub:80/x?y=1"));
        assert_eq!(to("https://cdn/x").as_deref(), Some("https://cdn/x"));
        assert_eq!(
            (to("//cdn/x"), to("ftp://cdn/x"), to("x")),
            (None, None, None)
        );
        assert!(same_host("https://hub/a", "https://hub"));
        for other in [
            "http://hub/a",
            "https://hub:444/a",
            "https://cdn.hub/a",
            "hub",
        ] {
            assert!(!same_host("https://hub", other), "{other}");
        }
    }
}
