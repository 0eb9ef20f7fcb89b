//! What is known of one exchange while it goes through the hooks. Memory only.

use super::{change, verdict::Refused};
use rockstar_core::manifest::HookType;
use rockstar_proto::{
    app::Enter,
    path::normalize,
    plugin::{Call, ErrorHook, ResponseHook, call, reply::Reply},
    types::{Body, Change, ContextValue, Empty, Failure, Request, Response},
};
use std::time::Duration;
use tokio::time::Instant;

const DEFAULT_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) id: String,
    limit: Duration,
    /// When the plugins must be done; moves on when the handler is.
    pub(super) deadline: Instant,
    request: Request,
    body: Option<Body>,
    response: Option<Response>,
    values: Vec<ContextValue>,
    /// What the application has to change of the request, later of the response.
    change: Change,
    pub(super) refused: Option<Refused>,
    pub(super) answered: bool,
    /// Failures that error hooks have not been told yet.
    pub(super) failures: Vec<Failure>,
}

impl Exchange {
    pub(super) fn new(id: String, enter: Enter) -> Self {
        let limit = match enter.timeout_ms {
            0 => DEFAULT_LIMIT,
            ms => Duration::from_millis(ms.into()),
        };
        let mut request = enter.request.unwrap_or_default();
        request.normal_path = normalize(&request.path).into_owned();
        let body = request.body.take();
        let mut values = Vec::new();
        change::set_values(&mut values, &enter.values, "");
        Self {
            id,
            limit,
            deadline: Instant::now() + limit,
            request,
            body,
            response: None,
            values,
            change: Change::default(),
            refused: None,
            answered: false,
            failures: Vec::new(),
        }
    }

    pub(super) fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// The message for one hook; bodies only where it asked for them.
    pub(super) fn call(&self, kind: HookType, handler: &str, body: bool) -> Call {
        Call {
            exchange: self.id.clone(),
            handler: handler.to_owned(),
            values: self.values.clone(),
            call: Some(match kind {
                HookType::PreRequest => call::Call::RequestHook(self.seen_request(body)),
                HookType::Startup | HookType::Shutdown => call::Call::LifecycleHook(Empty {}),
                HookType::Error => call::Call::ErrorHook(ErrorHook {
                    request: Some(self.request.clone()),
                    failure: self.failures.first().cloned(),
                    response: self.seen_response(body),
                }),
                _ => call::Call::ResponseHook(ResponseHook {
                    request: Some(self.request.clone()),
                    response: self.seen_response(body),
                }),
            }),
            ..Call::default()
        }
    }

    fn seen_request(&self, body: bool) -> Request {
        let request = self.request.clone();
        Request { body: self.body.clone().filter(|_| body), ..request }
    }

    fn seen_response(&self, body: bool) -> Option<Response> {
        let response = self.response.as_ref()?;
        Some(match body {
            true => response.clone(),
            false => Response {
                status: response.status,
                headers: response.headers.clone(),
                body: None,
                trailers: response.trailers.clone(),
            },
        })
    }

    /// Takes what a hook of that plugin decided. A failure is not for here.
    pub(super) fn take(&mut self, kind: HookType, plugin: &str, reply: Reply) {
        match (kind, reply) {
            (HookType::PreRequest, Reply::Change(change)) => self.change_request(plugin, &change),
            // What comes after a refusal is dropped.
            (HookType::PreRequest, Reply::Answer(answer)) if self.refused.is_none() => {
                self.answered = true;
                self.response = Some(answer);
            }
            (HookType::PostRequest | HookType::PreResponse | HookType::Error, Reply::Change(change)) => {
                self.change_response(kind, plugin, change);
            }
            (HookType::PostRequest | HookType::PreResponse | HookType::Error, Reply::Answer(answer)) => {
                let change = self.response.as_ref().map(|old| change::replacing(old, answer));
                self.change_response(kind, plugin, change.unwrap_or_default());
            }
            _ => {}
        }
    }

    fn change_request(&mut self, plugin: &str, change: &Change) {
        change::set_values(&mut self.values, &change.values, plugin);
        change::apply_to_request(&mut self.request, change);
        if let Some(body) = self.request.body.take() {
            self.body = Some(body);
        }
        change::merge(&mut self.change, change);
    }

    fn change_response(&mut self, kind: HookType, plugin: &str, mut change: Change) {
        change::set_values(&mut self.values, &change.values, plugin);
        if kind == HookType::Error || self.refused.is_some() {
            // A refusal stays one, whatever it looks like.
            change.status = None;
        }
        if let Some(response) = &mut self.response {
            change::apply_to_response(response, &change);
            change::merge(&mut self.change, &change);
        }
    }

    /// The first refusal stands, and is the answer whatever else there was.
    pub(super) fn refuse(&mut self, refused: Refused) {
        if self.refused.is_none() {
            self.response = Some(refused.response());
            self.refused = Some(refused);
        }
    }

    /// What the application does to the request before its handler.
    pub(super) fn request_change(&mut self) -> Change {
        let change = std::mem::take(&mut self.change);
        Change { values: self.values.clone(), ..change }
    }

    /// The plugins have their time anew.
    pub(super) fn restart_clock(&mut self) {
        self.deadline = Instant::now() + self.limit;
    }

    /// The handler is done, in its time; the plugins have theirs anew.
    pub(super) fn handled(&mut self, response: Response) {
        self.restart_clock();
        self.change = Change::default();
        self.response = Some(response);
    }

    /// The response was written as it is known, or as the application says where it never showed it.
    pub(super) fn written(&mut self, unseen: Option<Response>, status: u32) {
        self.restart_clock();
        let response = self.response.get_or_insert_default();
        if let Some(unseen) = unseen {
            *response = unseen;
        }
        if status != 0 {
            response.status = status;
        }
    }

    pub(super) fn response_change(&mut self) -> Change {
        std::mem::take(&mut self.change)
    }

    pub(super) fn answer(&self) -> Response {
        self.response.clone().unwrap_or_default()
    }
}
