//! Refusals as OpenAI's interface words them.

use super::limits;
use crate::cli::out;
use crate::error::Error;
use crate::files::show;
use crate::generate::scheduler::Refused;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A request that is not answered, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    /// The field of the request that is wrong.
    param: Option<String>,
    code: Option<&'static str>,
    /// Seconds after which it makes sense to ask again.
    retry: Option<u32>,
    /// The methods that a path has.
    allow: Option<&'static str>,
}

/// Result of what a client asked for.
pub(super) type Answered<T> = Result<T, ApiError>;

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            param: None,
            code: None,
            retry: None,
            allow: None,
        }
    }

    fn invalid(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "invalid_request_error", message)
    }

    fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// A request that makes no sense.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::invalid(StatusCode::BAD_REQUEST, message)
    }

    /// The value of a field that makes no sense: `` `FIELD` WHAT ``.
    pub(super) fn field(name: impl Into<String>, what: impl std::fmt::Display) -> Self {
        let name = name.into();
        Self {
            param: Some(name.clone()),
            ..Self::bad(format!("`{name}` {what}")).with_code("invalid_value")
        }
    }

    /// A field that is understood, and changes an answer in a way that is not there.
    pub(super) fn unsupported(name: impl Into<String>) -> Self {
        let mut error = Self::field(name, "is not supported here; leave it out");
        error.code = Some("unsupported_parameter");
        error
    }

    /// A missing or a wrong key.
    pub(super) fn key(given: bool) -> Self {
        let message = match given {
            true => {
                "the API key is not one of this server's; send one as `Authorization: Bearer KEY`"
            }
            false => "there is no API key; send it as `Authorization: Bearer KEY`",
        };
        Self::invalid(StatusCode::UNAUTHORIZED, message).with_code("invalid_api_key")
    }

    /// A page of another site, which may not use this server.
    pub(super) fn cross_site() -> Self {
        let message =
            "a page of another origin asks; start the server with `--cors ORIGIN` to allow that";
        Self::invalid(StatusCode::FORBIDDEN, message).with_code("cross_origin")
    }

    /// A path that nothing answers.
    pub(super) fn path(path: &str) -> Self {
        let message = format!("there is no path {}; see /v1/models", show(path));
        Self::invalid(StatusCode::NOT_FOUND, message).with_code("unknown_url")
    }

    /// A model that is not served.
    pub(super) fn model(name: &str) -> Self {
        let message = format!(
            "there is no model `{}`; /v1/models says which there is",
            show(name)
        );
        Self {
            param: Some("model".to_owned()),
            ..Self::invalid(StatusCode::NOT_FOUND, message).with_code("model_not_found")
        }
    }

    /// A method that the path does not have.
    pub(super) fn method(allow: &'static str) -> Self {
        let message = format!("the path has no such method; it has {allow}");
        Self {
            allow: Some(allow),
            ..Self::invalid(StatusCode::METHOD_NOT_ALLOWED, message)
        }
    }

    /// A body that does not come.
    pub(super) fn slow() -> Self {
        let message = "the body of the request did not come in time; send it at once";
        Self::invalid(StatusCode::REQUEST_TIMEOUT, message)
    }

    /// A body that is too long.
    pub(super) fn large() -> Self {
        let message = format!(
            "the body of the request has more than {} bytes; shorten it",
            limits::BODY
        );
        Self::invalid(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// A text that does not fit the context, of which the beginning was looked at.
    pub(super) fn long(bytes: usize, tokens: usize, context: usize, param: &str) -> Self {
        let message = format!(
            "the first {bytes} bytes of the prompt have {tokens} tokens, but the context holds {context}; shorten it"
        );
        Self {
            param: Some(param.to_owned()),
            ..Self::bad(message).with_code("context_length_exceeded")
        }
    }

    /// Too many requests.
    fn full(waiting: usize) -> Self {
        let message = format!("{waiting} requests wait already; ask again later");
        Self {
            retry: Some(1),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "requests", message)
                .with_code("rate_limit_exceeded")
        }
    }

    /// A server that is not ready, or not any more.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self {
            retry: Some(1),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable_error",
                message,
            )
        }
    }

    /// A mistake in this program.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// What the library says of a request: its mistakes are the client's where it calls them bad input.
    pub(super) fn library(error: &Error, param: &str) -> Self {
        let message = out::one_line(&error.to_string());
        match error {
            Error::Context { .. } => Self {
                param: Some(param.to_owned()),
                ..Self::bad(message).with_code("context_length_exceeded")
            },
            Error::Device { .. } => Self::unavailable(message),
            other if other.exit_code() == 2 => Self {
                param: Some(param.to_owned()),
                ..Self::bad(message).with_code("invalid_value")
            },
            _ => Self::internal(message),
        }
    }

    /// Why the scheduler did not take a request.
    pub(super) fn refused(refused: &Refused) -> Self {
        match refused {
            Refused::Full { waiting } => Self::full(*waiting),
            Refused::Bad(error) => Self::library(error, "max_tokens"),
        }
    }

    /// The object `{"error": ...}`.
    pub(super) fn json(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.json())).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::REQUEST_TIMEOUT {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(seconds) = self.retry {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(methods) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_openais_form() {
        let error = ApiError::field("top_p", "is 2; give a number from 0 to 1");
        let expected = json!({"error": {
            "message": "`top_p` is 2; give a number from 0 to 1",
            "type": "invalid_request_error",
            "param": "top_p",
            "code": "invalid_value",
        }});
        assert_eq!(error.json(), expected);
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn what_the_library_says_has_the_status_that_fits() {
        let context = Error::Context {
            prompt: 5,
            new: 6,
            context: 7,
        };
        let error = ApiError::refused(&Refused::Bad(context));
        assert_eq!(error.status.as_u16(), 400);
        assert_eq!(error.code, Some("context_length_exceeded"));
        let status = |error: Error| ApiError::library(&error, "prompt").status.as_u16();
        assert_eq!(status(Error::usage("a", "b")), 400);
        assert_eq!(status(Error::device("a", "b")), 503);
        let what = "a".to_owned();
        assert_eq!(status(Error::Shape { op: "x", what }), 500);
        let full = ApiError::refused(&Refused::Full { waiting: 3 });
        assert_eq!(full.status.as_u16(), 429);
        let response = full.into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
