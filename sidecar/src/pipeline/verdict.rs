//! What a hook's failure means for the exchange: refused > answered > continue. Pure.

use crate::{
    link::{CallError, MAX_FRAME},
    slot::Refusal,
};
use rockstar_core::{assignment::FailurePolicy, manifest::HookType};
use rockstar_proto::types::{Body, Failure, Header, Response, body, failure::Class};
use serde_json::json;

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
        let body = Some(Body { body: Some(body::Body::Whole(text.into())) });
        Response { status: self.status, headers, body, trailers: Vec::new() }
    }
}

/// What becomes of an exchange after a hook failed.
pub(super) fn after_failure(kind: HookType, policy: FailurePolicy, failure: &Failure) -> Option<Refused> {
    let returned = matches!(failure.class(), Class::Returned | Class::Panic);
    match (kind, policy) {
        (_, FailurePolicy::Open) | (HookType::PostResponse | HookType::Error, _) => None,
        // The plugin's own text is for logs and error hooks: it may hold what clients must not read.
        (HookType::PreRequest, _) if returned => Some(Refused::new(500, "internal server error")),
        // An error in a later hook never changes the answer; a plugin that could not look at it does.
        _ if returned => None,
        _ => Some(Refused::unavailable("service unavailable", 1)),
    }
}

/// What becomes of an exchange that was not let into a plugin.
pub(super) fn after_refusal(kind: HookType, policy: FailurePolicy, refusal: &Refusal) -> Option<Refused> {
    let skipped = matches!(kind, HookType::PostResponse | HookType::Error);
    match refusal {
        _ if skipped => None,
        Refusal::Unloaded => None,
        Refusal::Down { .. } if policy == FailurePolicy::Open => None,
        _ => Some(Refused::unavailable(refusal.to_string(), refusal.retry_after())),
    }
}

/// The exchange's message is too large for a shared stream.
pub(super) fn too_large(kind: HookType) -> Refused {
    match kind {
        HookType::PreRequest => {
            Refused::new(431, format!("request is larger than the {MAX_FRAME} bytes that plugins can see"))
        }
        _ => Refused::new(500, format!("response is larger than the {MAX_FRAME} bytes that plugins can see")),
    }
}

/// A call without reply, as failure of the plugin. `limit` is what the hook was given.
pub(super) fn no_reply(kind: HookType, error: &CallError, limit: &str) -> (Class, String) {
    match error {
        CallError::Timeout => (Class::Timeout, format!("hook execution timeout: {kind} hook exceeded {limit} timeout")),
        CallError::Unreachable(_) => (Class::Unreachable, error.to_string()),
        CallError::Failed(text) => (Class::Returned, text.clone()),
        CallError::Protocol(_) | CallError::TooLarge(_) => (Class::Protocol, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn failure(class: Class) -> Failure {
        Failure { class: class.into(), ..Failure::default() }
    }

    #[test]
    fn closed_refuses_and_open_goes_on() {
        let status = |kind, policy, class| after_failure(kind, policy, &failure(class)).map(|r| r.status);
        use {FailurePolicy::*, HookType::*};
        assert_eq!(status(PreRequest, Closed, Class::Returned), Some(500));
        assert_eq!(status(PreRequest, Closed, Class::Panic), Some(500));
        for class in [Class::Timeout, Class::Unreachable, Class::Protocol] {
            assert_eq!(status(PreRequest, Closed, class), Some(503));
            assert_eq!(status(PreResponse, Closed, class), Some(503));
            assert_eq!(status(PreRequest, Open, class), None);
        }
        assert_eq!(status(PreResponse, Closed, Class::Returned), None);
        assert_eq!(status(PostResponse, Closed, Class::Timeout), None);
        assert_eq!(status(Error, Closed, Class::Returned), None);
    }

    #[test]
    fn a_reload_refuses_by_its_queue_and_a_dead_plugin_by_its_policy() {
        let down = Refusal::Down { plugin: "p".into(), status: "error" };
        let late = Refusal::QueueTimeout(Duration::from_secs(1));
        assert_eq!(after_refusal(HookType::PreRequest, FailurePolicy::Open, &down), None);
        assert_eq!(after_refusal(HookType::PreRequest, FailurePolicy::Closed, &down).unwrap().status, 503);
        let refused = after_refusal(HookType::PreRequest, FailurePolicy::Open, &late).unwrap();
        let body = refused.response().body.unwrap().body.unwrap();
        let text = r#"{"error":"request timeout: plugin reload exceeded queue timeout (1s)"}"#;
        assert_eq!(body, body::Body::Whole(text.into()));
    }
}
