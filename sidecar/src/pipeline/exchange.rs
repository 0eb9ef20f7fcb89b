//! What is known of one exchange while it goes through the plugins. Memory only.

use super::{
    change,
    parked::Parked,
    point::{Moment, Point},
    table::Phase,
    transfer::Offer,
    verdict::Refused,
};
use crate::{
    ancestry::{Inside, Line, Lineage},
    instance::Generation,
    slot::{Caller, Slot},
};
use rockstar_core::manifest::HookType;
use rockstar_proto::{
    app::{Enter, Written},
    body::SENT_BY_SERVER,
    path::normalize,
    plugin::{BodyNeed, Call, ErrorHook, Leave, ResponseHook, call, reply::Reply},
    readings::Readings,
    types::{Body, Change, ContextValue, Empty, Failure, PathParameter, Request, Response},
};
use std::time::Duration;
use tokio::time::Instant;

const DEFAULT_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Exchange {
    lineage: Lineage,
    limit: Duration,
    /// When the plugins must be done; moves on when the handler is.
    pub(super) deadline: Instant,
    request: Request,
    /// What guards' patterns are matched on.
    readings: Readings,
    body: Option<Body>,
    response: Option<Response>,
    values: Vec<ContextValue>,
    /// What the application has to change of the request, later of the response.
    change: Change,
    pub(super) refused: Option<Refused>,
    pub(super) answered: bool,
    /// Middleware that went in and has not come out; the last one is the innermost.
    pub(super) parked: Vec<Parked>,
    /// Failures that error hooks have not been told yet.
    pub(super) failures: Vec<Failure>,
    /// Large bodies that plugins sent.
    offers: Vec<Offer>,
}

impl Exchange {
    pub(super) fn new(lineage: Lineage, enter: Enter) -> Self {
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
            lineage,
            limit,
            deadline: Instant::now() + limit,
            readings: Readings::of(&request.path),
            request,
            body,
            response: None,
            values,
            change: Change::default(),
            refused: None,
            answered: false,
            parked: Vec::new(),
            failures: Vec::new(),
            offers: Vec::new(),
        }
    }

    pub(super) fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    pub(super) fn id(&self) -> &str {
        self.lineage.id()
    }

    pub(super) fn method(&self) -> &str {
        &self.request.method
    }

    /// Its path as any router may read it, for the patterns of guards.
    pub(super) const fn readings(&self) -> &Readings {
        &self.readings
    }

    /// The path that patterns of routes are matched on.
    pub(super) fn normal_path(&self) -> &str {
        &self.request.normal_path
    }

    /// Whether its body, if it has one, can be shown so.
    pub(super) fn has_body(&self, need: BodyNeed) -> bool {
        need == BodyNeed::None || self.body_as(need).is_some()
    }

    fn body_as(&self, need: BodyNeed) -> Option<&Body> {
        // What a plugin before has sent itself can only go to the application.
        let fits = |body: &&Body| match need {
            BodyNeed::None => false,
            BodyNeed::Whole => body.bytes().is_some(),
            BodyNeed::Stream => body.transfer().is_none_or(|id| id < SENT_BY_SERVER),
        };
        self.body.as_ref().filter(fits)
    }

    pub(super) fn offered(&mut self, offer: Option<Offer>) {
        self.offers.extend(offer);
    }

    /// Waits until that body is where it belongs, or will not be.
    pub(super) async fn written(&mut self, body: Option<u64>) -> Written {
        match self.offers.iter_mut().find(|offer| Some(offer.id()) == body) {
            Some(offer) => offer.written().await,
            None => Written::default(),
        }
    }

    /// Whether anybody reads the response's body.
    pub(super) fn shows_body(&self) -> bool {
        let status = self.response.as_ref().map_or(0, |response| response.status);
        self.request.method != "HEAD" && !matches!(status, 100..=199 | 204 | 304)
    }

    pub(super) fn announces_body(&self) -> bool {
        let announced = |name: &str, value: &[u8]| match name {
            "content-length" => value != b"0",
            name => name == "transfer-encoding",
        };
        self.request.headers.iter().any(|h| announced(&h.name, &h.value))
    }

    /// Whether that phase has nothing more to do.
    pub(super) const fn is_over(&self, phase: Phase) -> bool {
        match phase {
            Phase::Hooks(HookType::PreRequest) => self.answered,
            Phase::Hooks(_) => false,
            Phase::Inward => !self.is_open(),
        }
    }

    /// Nobody has answered or refused it so far.
    pub(super) const fn is_open(&self) -> bool {
        self.refused.is_none() && !self.answered
    }

    /// As which it asks to be let in.
    pub(super) fn caller(&self, slot: &Slot) -> Caller {
        let current = slot.current().map(|instance| instance.generation());
        Caller { deadline: self.deadline, inside: current.filter(|generation| self.line().is_inside(*generation)) }
    }

    pub(super) fn enter(&self, generation: Generation) -> Inside {
        self.line().enter(generation)
    }

    /// Where its calls come from.
    pub(super) const fn line(&self) -> &Line {
        self.lineage.line()
    }

    /// The message for one hook, or middleware's first half; bodies only where it asked for them.
    pub(super) fn call(&self, point: Point<'_>, handler: &str, body: bool) -> Call {
        self.made(
            handler,
            match point {
                Point::Hook(HookType::PreRequest) => call::Call::RequestHook(self.seen_request(body)),
                Point::Hook(HookType::Startup | HookType::Shutdown) => call::Call::LifecycleHook(Empty {}),
                Point::Hook(HookType::Error) => call::Call::ErrorHook(ErrorHook {
                    request: Some(self.request.clone()),
                    failure: self.failures.first().cloned(),
                    response: self.seen_response(body),
                }),
                Point::Hook(_) => call::Call::ResponseHook(ResponseHook {
                    request: Some(self.request.clone()),
                    response: self.seen_response(body),
                }),
                Point::Enter(_) => call::Call::Enter(self.seen_request(body)),
                Point::Leave(_) => call::Call::Leave(self.leave(body)),
                Point::Route(_) => call::Call::Route(self.seen_request(body)),
            },
        )
    }

    pub(super) fn route_call(&self, handler: &str, body: BodyNeed, parameters: Vec<PathParameter>) -> Call {
        let body = self.body_as(body).cloned();
        self.made(handler, call::Call::Route(Request { parameters, body, ..self.request.clone() }))
    }

    /// The message for middleware's second half; without a response it is abandoned.
    pub(super) fn leave_call(&self, handler: &str, body: bool, state: bytes::Bytes, abandoned: bool) -> Call {
        let leave = match abandoned {
            true => Leave { request: Some(self.request.clone()), ..Leave::default() },
            false => self.leave(body),
        };
        self.made(handler, call::Call::Leave(Leave { state, abandoned, ..leave }))
    }

    fn leave(&self, body: bool) -> Leave {
        let (request, response) = (Some(self.request.clone()), self.seen_response(body));
        Leave { request, response, ..Leave::default() }
    }

    fn made(&self, handler: &str, call: call::Call) -> Call {
        Call {
            exchange: self.id().to_owned(),
            handler: handler.to_owned(),
            values: self.values.clone(),
            call: Some(call),
            ..Call::default()
        }
    }

    fn seen_request(&self, body: bool) -> Request {
        let need = if body { BodyNeed::Whole } else { BodyNeed::None };
        Request { body: self.body_as(need).cloned(), ..self.request.clone() }
    }

    fn seen_response(&self, body: bool) -> Option<Response> {
        let response = self.response.as_ref()?;
        Some(Response {
            status: response.status,
            headers: response.headers.clone(),
            body: response.body.clone().filter(|whole| body && whole.bytes().is_some()),
            trailers: response.trailers.clone(),
        })
    }

    /// Takes what that plugin decided. A failure is not for here.
    pub(super) fn take(&mut self, point: Point<'_>, plugin: &str, reply: Reply) {
        match (point.moment(), reply) {
            (Moment::Before, Reply::Change(change)) => self.change_request(plugin, &change),
            // What comes after a refusal is dropped.
            (Moment::Before, Reply::Answer(answer)) if self.refused.is_none() => {
                self.answered = true;
                self.response = Some(answer);
            }
            (Moment::Handler, Reply::Change(change)) => {
                self.handled(Response { status: 200, ..Response::default() });
                self.change_response(point, plugin, change);
            }
            (Moment::Handler, Reply::Answer(answer)) => self.handled(answer),
            (Moment::Aside, _) if point != Point::Hook(HookType::Error) => {}
            (Moment::After | Moment::Aside, Reply::Change(change)) => self.change_response(point, plugin, change),
            (Moment::After | Moment::Aside, Reply::Answer(answer)) => {
                let change = self.response.as_ref().map(|old| change::replacing(old, answer));
                self.change_response(point, plugin, change.unwrap_or_default());
            }
            _ => {}
        }
    }

    pub(super) fn change_request(&mut self, plugin: &str, change: &Change) {
        change::set_values(&mut self.values, &change.values, plugin);
        change::apply_to_request(&mut self.request, change);
        if change.path.is_some() {
            self.readings = Readings::of(&self.request.path);
        }
        if let Some(body) = self.request.body.take() {
            self.body = Some(body);
        }
        change::merge(&mut self.change, change);
    }

    fn change_response(&mut self, point: Point<'_>, plugin: &str, mut change: Change) {
        change::set_values(&mut self.values, &change.values, plugin);
        if point == Point::Hook(HookType::Error) || self.refused.is_some() {
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

    /// Takes what a failure means.
    pub(super) fn fail(&mut self, moment: Moment, refused: Refused) {
        match moment {
            Moment::Handler => self.handled(refused.response()),
            _ => self.refuse(refused),
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
    pub(super) fn was_written(&mut self, unseen: Option<Response>, status: u32) {
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
