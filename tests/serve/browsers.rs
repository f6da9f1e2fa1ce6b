//! Keys, and which pages may ask.

use crate::client::Server;
use crate::{greedy, refused, shared};

#[test]
fn a_key_is_needed_where_one_is_asked_for() {
    let server = Server::start(&["--api-key", "first-key", "--api-key", "second-key"]);
    for path in ["/health", "/"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    for path in ["/v1/models", "/metrics", "/slots", "/props", "/nothing"] {
        let answer = server.get(path);
        refused(&answer, 401, None);
        assert_eq!(answer.header("www-authenticate"), Some("bearer"));
    }
    let body = greedy("Once", 1).to_string();
    let ask = |header: &str| server.ask("POST", "/v1/completions", &[header], body.as_bytes());
    for wrong in [
        "x: y",
        "authorization: Bearer",
        "authorization: Bearer first-ke",
        "authorization: Bearer first-key2",
        "authorization: Basic first-key",
        "authorization: first-key",
        "authorization: \u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}",
    ] {
        refused(&ask(wrong), 401, None);
    }
    assert_eq!(ask("authorization: Bearer first-key").status, 200);
    assert_eq!(ask("Authorization: bearer second-key").status, 200);
    assert!(!server.log().contains("first-key"), "the log names a key");
}

#[test]
fn pages_of_other_sites_may_not_ask_unless_they_are_allowed() {
    let body = greedy("Once", 1).to_string();
    let ask = |server: &Server, headers: &[&str]| {
        server.ask("POST", "/v1/completions", headers, body.as_bytes())
    };
    let cross = ["origin: https://example.org", "sec-fetch-site: cross-site"];
    let server = shared();
    refused(&ask(&server, &cross), 403, None);
    let own = ask(
        &server,
        &["origin: https://example.org", "sec-fetch-site: same-origin"],
    );
    assert_eq!(own.status, 200); // the page behind a proxy that gives the server another name
    assert_eq!(own.header("access-control-allow-origin"), None);

    let server = Server::start(&["--cors", "https://example.org"]);
    let answer = ask(&server, &cross);
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://example.org")
    );
    assert_eq!(answer.header("vary"), Some("origin"));
    let other = ["origin: https://example.net", "sec-fetch-site: cross-site"];
    let answer = ask(&server, &other);
    refused(&answer, 403, None);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let asks = "access-control-request-method: POST";
    let answer = server.ask("OPTIONS", "/v1/chat/completions", &[cross[0], asks], b"");
    assert_eq!(answer.status, 204);
    let allowed = answer
        .header("access-control-allow-headers")
        .expect("headers");
    assert!(allowed.contains("authorization") && allowed.contains("content-type"));
}

#[test]
fn the_page_brings_everything_along() {
    let answer = shared().get("/");
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"),
        "{policy}"
    );
    let text = answer.text();
    // its own script and style run, and nothing that comes into the page later
    let word = policy
        .split("script-src 'nonce-")
        .nth(1)
        .and_then(|rest| rest.split('\'').next());
    let word = word.expect("a word");
    for tag in ["script", "style"] {
        assert_eq!(
            text.matches(&format!("<{tag} nonce=\"{word}\">")).count(),
            1,
            "{tag}"
        );
        assert!(!text.contains(&format!("<{tag}>")));
    }
    assert!(!policy.contains("unsafe") && !shared().get("/").text().contains(word));
    // relative addresses work behind any prefix
    for absolute in [
        "src=\"/",
        "href=\"/",
        "fetch(\"/",
        "fetch('/",
        "https://",
        "src=\"http",
    ] {
        assert!(!text.contains(absolute), "{absolute}");
    }
}
