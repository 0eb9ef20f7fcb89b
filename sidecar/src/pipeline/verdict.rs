//! What a plugin's failure means for the exchange: refused > answered > continue. Pure.

use super::point::{Moment, Point};
use crate::{link::CallError, slot::Refusal};
use rockstar_core::assignment::FailurePolicy;
use rockstar_proto::{
    body::{MAX_FRAME, MAX_WHOLE},
    types::{Body, Failure, Header, Response, failure::Class},
};
use serde_json::json;
use std::time::Duration;

/// Why an exchange is refused, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u32,
    /// What the client reads.
    text: String,
    retry_after: Option<u32>,
}

impl Refused {
    fn new(status: u32, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), retry_after: None }
    }

    pub(super) fn unavailable(text: impl Into<String>, retry_after: u32) -> Self {
        Self { status: 503, text: text.into(), retry_after: Some(retry_after) }
    }

    pub(super) fn response(&self) -> Response {
        let header = |name: &str, value: String| Header { name: name.into(), value: value.into() };
        let mut headers = vec![header("content-type", "application/json".into())];
        headers.extend(self.retry_after.map(|seconds| header("retry-after", seconds.to_string())));
        let text = json!({ "error": self.text }).to_string();
        let body = Some(Body::whole(text));
        Response { status: self.status, headers, body, trailers: Vec::new() }
    }
}

/// What becomes of an exchange after a call failed. Where the plugin is the handler this is its response: nobody else
/// could make one.
pub(super) fn after_failure(moment: Moment, policy: FailurePolicy, failure: &Failure) -> Option<Refused> {
    let returned = matches!(failure.class(), Class::Returned | Class::Panic);
    // The plugin's own text is for logs and error hooks: it may hold what clients must not read.
    let broken = || Refused::new(500, "internal server error");
    let unavailable = || Refused::unavailable("service unavailable", 1);
    match (moment, policy) {
        (Moment::Handler, _) if returned => Some(broken()),
        (Moment::Handler, _) => Some(unavailable()),
        (_, FailurePolicy::Open) | (Moment::Aside, _) => None,
        (Moment::Before, _) if returned => Some(broken()),
        // An error in a later hook never changes the answer; a plugin that could not look at it does.
        _ if returned => None,
        _ => Some(unavailable()),
    }
}

/// What becomes of an exchange that was not let into a plugin.
pub(super) fn after_refusal(moment: Moment, policy: FailurePolicy, refusal: &Refusal) -> Option<Refused> {
    let open = policy == FailurePolicy::Open && moment != Moment::Handler;
    match refusal {
        _ if moment == Moment::Aside => None,
        Refusal::Unloaded => None,
        Refusal::Down { .. } if open => None,
        _ => Some(Refused::unavailable(refusal.to_string(), refusal.retry_after())),
    }
}

/// The exchange's message is too large for a shared stream.
pub(super) fn too_large(moment: Moment) -> Refused {
    match moment {
        Moment::Before | Moment::Handler => {
            Refused::new(431, format!("request is larger than the {MAX_FRAME} bytes that plugins can see"))
        }
        _ => Refused::new(500, format!("response is larger than the {MAX_FRAME} bytes that plugins can see")),
    }
}

/// A route would have to answer without the body.
pub(super) fn body_too_large() -> Refused {
    Refused::new(413, format!("request body is larger than the {MAX_WHOLE} bytes that plugins can see"))
}

/// The request's body did not get to the plugin, by nobody's fault there.
pub(super) fn no_body(error: &CallError) -> Refused {
    match error {
        CallError::Client(_) => Refused::new(408, format!("request timeout: {error}")),
        _ => Refused::unavailable(format!("service unavailable: {error}"), 1),
    }
}

/// A call without reply, as failure of the plugin. `limit` is what the call was given.
pub(super) fn no_reply(point: Point<'_>, error: &CallError, limit: Duration) -> (Class, String) {
    match error {
        CallError::Timeout => (Class::Timeout, point.timeout(limit)),
        CallError::Unreachable(_) => (Class::Unreachable, error.to_string()),
        CallError::Failed(text) => (Class::Returned, text.clone()),
        CallError::Protocol(_) | CallError::TooLarge(_) | CallError::Busy | CallError::Client(_) => {
            (Class::Protocol, error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(class: Class) -> Failure {
        Failure { class: class.into(), ..Failure::default() }
    }

    #[test]
    fn closed_refuses_and_open_goes_on() {
        let status = |moment, policy, class| after_failure(moment, policy, &failure(class)).map(|r| r.status);
        use {FailurePolicy::*, Moment::*};
        assert_eq!(status(Before, Closed, Class::Returned), Some(500));
        assert_eq!(status(Before, Closed, Class::Panic), Some(500));
        for class in [Class::Timeout, Class::Unreachable, Class::Protocol] {
            assert_eq!(status(Before, Closed, class), Some(503));
            assert_eq!(status(After, Closed, class), Some(503));
            assert_eq!(status(Before, Open, class), None);
            assert_eq!(status(Handler, Open, class), Some(503));
            assert_eq!(status(Aside, Closed, class), None);
        }
        assert_eq!(status(After, Closed, Class::Returned), None);
        assert_eq!(status(Aside, Closed, Class::Returned), None);
        assert_eq!(status(Handler, Open, Class::Returned), Some(500));
    }

    #[test]
    fn a_reload_refuses_by_its_queue_and_a_dead_plugin_by_its_policy() {
        let down = Refusal::Down { plugin: "p".into(), status: "error" };
        let late = Refusal::QueueTimeout(Duration::from_secs(1));
        assert_eq!(after_refusal(Moment::Before, FailurePolicy::Open, &down), None);
        assert_eq!(after_refusal(Moment::Before, FailurePolicy::Closed, &down).unwrap().status, 503);
        let refused = after_refusal(Moment::Before, FailurePolicy::Open, &late).unwrap();
        let body = refused.response().body.unwrap();
        assert_eq!(after_refusal(Moment::Handler, FailurePolicy::Open, &down).unwrap().status, 503);
        assert_eq!(after_refusal(Moment::Handler, FailurePolicy::Closed, &Refusal::Unloaded), None);
        let text = r#"{"error":"request timeout: plugin reload exceeded queue timeout (1s)"}"#;
        assert_eq!(body, Body::whole(text));
    }
}
