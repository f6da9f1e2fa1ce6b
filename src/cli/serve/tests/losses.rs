//! Devices that are lost under load: 503, one rebuild, then service.

use super::fake::{Script, Step};
use super::{Running, answer, events, message, settings};
use crate::error::Error;

const STREAM: &str = r#"{"prompt": [300], "max_tokens": 100, "stream": true}"#;
const WHOLE: &str = r#"{"prompt": [300], "max_tokens": 100}"#;

#[test]
fn a_device_that_is_lost_is_rebuilt_once_and_served_on() {
    let script = Script::default();
    let mut server = Running::start(&script, settings());
    server.until_health(200);
    let stream = server.send("POST", "/v1/completions", STREAM);
    let whole = server.send("POST", "/v1/completions", WHOLE);
    script.until_running(2);
    script.steps(&[Step::Tokens, Step::Tokens]);
    script.hold(true);
    script.steps(&[Step::Lose]);
    // those that ran end with an error
    let (status, text) = answer(whole);
    assert_eq!(status, 503, "{text}");
    assert!(message(&text).contains("the device is lost"), "{text}");
    let mut told = events(stream);
    let last = told.pop().expect("an event");
    assert!(message(&last).contains("the device is lost"), "{last}");
    assert!(told.iter().any(|event| event.contains(" 1")), "{told:?}");
    // those that come meanwhile are sent away
    server.until_health(503);
    assert_eq!(server.complete().0, 503);
    assert_eq!(server.ask("GET", "/v1/models", "").0, 503);
    // and when there is a new one, all is as before
    script.all(Step::Tokens);
    script.hold(false);
    server.until_health(200);
    let (status, text) = server.complete();
    assert_eq!(status, 200, "{text}");
    assert!(text.contains(" 1 2 3"), "{text}");
    assert_eq!(script.built(), 2);
    assert_eq!(server.app.metrics.rebuilds.get(), 1);
    server.stop();
    server.end().expect("it stops as it should");
}

#[test]
fn a_device_that_is_lost_again_ends_the_engine_with_its_error() {
    let script = Script::default();
    script.all(Step::Lose);
    let server = Running::start(&script, settings());
    server.until_health(200);
    assert_eq!(server.complete().0, 503);
    server.until_health(200);
    assert_eq!(server.complete().0, 503);
    let end = server.end();
    let error = end.expect_err("lost twice");
    assert!(matches!(error, Error::Device { .. }), "{error}");
    assert_eq!(error.exit_code(), 3);
    assert_eq!(script.built(), 2);
    assert_eq!(server.complete().0, 503);
}

#[test]
fn a_device_that_is_not_there_any_more_ends_the_engine() {
    let script = Script::default();
    script.all(Step::Lose);
    script.at_most(1);
    let server = Running::start(&script, settings());
    server.until_health(200);
    assert_eq!(server.complete().0, 503);
    let end = server.end();
    assert!(
        end.expect_err("no device")
            .to_string()
            .contains("no device any more")
    );
}

#[test]
fn a_mistake_in_the_engine_is_like_a_loss() {
    let script = Script::free();
    let mut server = Running::start(&script, settings());
    server.until_health(200);
    script.steps(&[Step::Panic]);
    let (status, text) = server.complete();
    assert_eq!(status, 503, "{text}");
    assert!(message(&text).contains("a mistake"), "{text}");
    server.until_health(200);
    assert_eq!(server.complete().0, 200);
    server.stop();
    server.end().expect("it stops as it should");
}
