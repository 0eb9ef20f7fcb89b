//! One request on its way through the plugins: before the handler, after it, and when it is written.

use crate::{
    answer,
    body::{Body, BoxError, Written},
    client::Client,
    interests::Match,
    lane::{Answer, Lost, Ticket},
    message::{self, Content},
    transfer::{self, Progress, SendError},
    values::{Cause, ContextValues},
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request, response};
use hyper::body::Body as HttpBody;
use prost::Message;
use rockstar_proto::{
    app::{self, BodyNeed, Enter, Want, app_frame::Frame},
    body::{MAX_FRAME, MAX_WHOLE},
    types::{self, Change, Failure, failure::Class},
};
use std::{mem, thread, time::Duration};
use tokio::time::timeout;
use tower::{Service, ServiceExt};

/// How long a request waits for a sidecar that cannot be reached.
pub(crate) const REACH: Duration = Duration::from_secs(5);
/// The sidecar itself answers at the exchange's end; this is for one that does not.
const GRACE: Duration = Duration::from_secs(1);
/// Of a request whose body is on its way: what moves is not late.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_BODY: u64 = MAX_WHOLE as u64;

pub(crate) struct Exchange {
    pub(crate) client: Client,
    /// How long the plugins may take before the handler, and again after it.
    pub(crate) limit: Duration,
    pub(crate) matched: Match,
}

/// What the plugins decided before the handler.
enum Before {
    /// Run the handler; then go on with this exchange, if the sidecar wants to hear more.
    Handle(Option<Parked>),
    Answer(Response<Content>),
}

/// What they decided after it.
enum After {
    /// Write the response, and say so.
    Write(Ticket),
    /// Write it; the sidecar wants to hear no more.
    Done,
    Answer(Response<Content>),
}

/// An exchange whose handler runs.
struct Parked {
    ticket: Ticket,
    want: u32,
}

/// The layer's own answer to what cannot be led through the plugins.
struct Refused(StatusCode, String);

impl Exchange {
    pub(crate) async fn run<S, B, R>(self, request: Request<B>, service: S) -> Result<Response<Body<R>>, S::Error>
    where
        S: Service<Request<Body<B>>, Response = Response<R>>,
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
        R: HttpBody<Data = Bytes>,
        R::Error: Into<BoxError>,
    {
        let bodiless = request.method() == Method::HEAD;
        let (mut head, mut body) = request.map(Body::inner).into_parts();
        let parked = match self.before(&mut head, &mut body).await {
            Before::Answer(answer) => return Ok(answer.map(|content| self.body(content))),
            Before::Handle(parked) => parked,
        };
        let handling = Handling(parked);
        let handled = service.oneshot(Request::from_parts(head, body)).await;
        match (handled, handling.end()) {
            (Ok(response), Some(parked)) => Ok(self.finish(parked, response.map(Body::inner), bodiless).await),
            (Ok(response), None) => Ok(response.map(Body::inner)),
            (Err(error), parked) => {
                if let Some(parked) = parked {
                    parked.ticket.end(failed("the handler failed"));
                }
                Err(error)
            }
        }
    }

    async fn before<B>(&self, head: &mut request::Parts, body: &mut Body<B>) -> Before
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let reached = timeout(REACH, async { self.client.lane().await.enter().await }).await;
        let Ok(Ok(mut ticket)) = reached else { return self.lost(Lost::Broken) };
        let enter = match self.enter(head, body).await {
            Ok(enter) => enter,
            Err(refused) => return Before::Answer(refused.answer()),
        };
        match self.ask(&mut ticket, enter, body).await {
            Ok(Answer::Proceed(proceed)) => {
                self.change_request(head, body, proceed.change.unwrap_or_default());
                if !proceed.exchange.is_empty() {
                    head.extensions.insert(Cause::new(proceed.exchange));
                }
                Before::Handle(Parked::new(ticket, proceed.want))
            }
            Ok(Answer::Answer(answer)) => {
                ticket.close();
                Before::Answer(message::answer(answer))
            }
            Ok(Answer::Finish(_)) => self.lost(Lost::Protocol),
            Err(otherwise) => otherwise,
        }
    }

    async fn enter<B>(&self, head: &request::Parts, body: &mut Body<B>) -> Result<Enter, Refused>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let shown = match self.matched.body {
            BodyNeed::None => None,
            need => {
                body.small(MAX_BODY).await.map_err(|e| Refused::unreadable(&e))?.map(types::Body::whole).or_else(|| {
                    let size = body.size_hint().exact().unwrap_or_default();
                    (need == BodyNeed::Stream).then(|| types::Body::transferred(transfer::id(), size))
                })
            }
        };
        let header = |name| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let enter = Enter {
            request: Some(message::request(head, shown)),
            timeout_ms: u32::try_from(self.limit.as_millis()).unwrap_or(u32::MAX),
            parent: header(Cause::HEADER).into(),
            traceparent: header("traceparent").into(),
            ..Enter::default()
        };
        if enter.encoded_len() > MAX_FRAME {
            return Err(Refused::large());
        }
        Ok(enter)
    }

    /// Says what there is, and sends a large body if a plugin reads it. Each piece of that gives the plugins their time
    /// anew.
    async fn ask<B>(&self, ticket: &mut Ticket, enter: Enter, body: &mut Body<B>) -> Result<Answer, Before>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let large = enter.request.as_ref().and_then(|request| request.body.as_ref()?.transfer());
        let Some(id) = large else {
            return ticket.ask(Frame::Enter(enter), self.limit + GRACE).await.map_err(|lost| self.lost(lost));
        };
        let progress = Progress::new();
        tokio::select! {
            biased;
            answer = ticket.ask(Frame::Enter(enter), FAR) => answer.map_err(|lost| self.lost_body(lost, &progress)),
            error = transfer::send(self.client.bodies(), id, body, &progress) => Err(match error {
                SendError::Read(error) => Before::Answer(Refused::unreadable(&error).answer()),
                SendError::Unreachable => self.lost(Lost::Broken),
            }),
            () = progress.stalled(self.limit + GRACE) => Err(self.lost_body(Lost::Timeout, &progress)),
        }
    }

    /// A handler could not have what is gone of the body.
    fn lost_body(&self, lost: Lost, progress: &Progress) -> Before {
        match progress.has_begun() {
            true => Before::Answer(unavailable(lost)),
            false => self.lost(lost),
        }
    }

    /// A plugin's body, in place of another.
    fn body<B>(&self, content: Content) -> Body<B>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        match content {
            Content::Whole(bytes) => Body::whole(bytes),
            Content::Transfer(id, size) => Body::streamed(transfer::receive(self.client.bodies(), id), size),
        }
    }

    fn change_request<B>(&self, head: &mut request::Parts, body: &mut Body<B>, mut change: Change)
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        head.extensions.insert(ContextValues::new(mem::take(&mut change.values)));
        if let Some(new) = message::change_request(head, change) {
            *body = self.body(new);
        }
    }

    /// Nobody knows what the plugins would have said: a request that one of them must not miss is refused.
    fn lost(&self, lost: Lost) -> Before {
        match self.matched.closed {
            true => Before::Answer(unavailable(lost)),
            false => Before::Handle(None),
        }
    }

    async fn finish<R>(&self, parked: Parked, response: Response<Body<R>>, bodiless: bool) -> Response<Body<R>>
    where
        R: HttpBody<Data = Bytes>,
        R::Error: Into<BoxError>,
    {
        let (mut head, mut body) = response.into_parts();
        let want = parked.want;
        let unseen = !parked.is_asked(&head);
        let after = if unseen { After::Write(parked.ticket) } else { self.after(parked, &mut head, &mut body).await };
        let response = Response::from_parts(head, body);
        match after {
            After::Write(ticket) if wants(want, Want::Written) => reporting(ticket, response, bodiless, unseen),
            After::Write(ticket) => {
                ticket.end(Frame::Written(app::Written::default()));
                response
            }
            After::Done => response,
            After::Answer(answer) => answer.map(|content| self.body(content)),
        }
    }

    async fn after<R>(&self, parked: Parked, head: &mut response::Parts, body: &mut Body<R>) -> After
    where
        R: HttpBody<Data = Bytes>,
        R::Error: Into<BoxError>,
    {
        let Parked { mut ticket, want } = parked;
        let handled = match handled(head, body, wants(want, Want::ResponseBody)).await {
            Ok(handled) => handled,
            Err(why) => {
                ticket.end(failed(&why));
                return After::Answer(answer::error(StatusCode::INTERNAL_SERVER_ERROR, &why).map(Content::Whole));
            }
        };
        match ticket.ask(Frame::Handled(handled), self.limit + GRACE).await {
            Ok(Answer::Finish(change)) => {
                if let Some(new) = message::change_response(head, change) {
                    *body = self.body(new);
                }
                match wants(want, Want::Written) {
                    true => After::Write(ticket),
                    false => {
                        ticket.close();
                        After::Done
                    }
                }
            }
            Ok(Answer::Answer(answer)) => {
                ticket.close();
                After::Answer(message::answer(answer))
            }
            Ok(Answer::Proceed(_)) => self.lost_after(Lost::Protocol),
            Err(lost) => self.lost_after(lost),
        }
    }

    fn lost_after(&self, lost: Lost) -> After {
        match self.matched.closed_after {
            true => After::Answer(unavailable(lost)),
            false => After::Done,
        }
    }
}

impl Parked {
    fn new(ticket: Ticket, want: u32) -> Option<Self> {
        if want == 0 {
            ticket.close();
            return None;
        }
        Some(Self { ticket, want })
    }

    /// Whether the sidecar wants to see this response before it is written.
    fn is_asked(&self, head: &response::Parts) -> bool {
        wants(self.want, Want::ResponseHead) || (wants(self.want, Want::Failure) && head.status.is_server_error())
    }
}

impl Refused {
    fn unreadable(error: &BoxError) -> Self {
        Self(StatusCode::BAD_REQUEST, format!("failed to read the request's body: {error}"))
    }

    fn large() -> Self {
        let text = "the request's header fields are too large for the plugins";
        Self(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text.into())
    }

    fn answer(&self) -> Response<Content> {
        answer::error(self.0, &self.1).map(Content::Whole)
    }
}

fn unavailable(lost: Lost) -> Response<Content> {
    answer::error(StatusCode::SERVICE_UNAVAILABLE, &format!("service unavailable: {lost}")).map(Content::Whole)
}

async fn handled<R>(head: &response::Parts, body: &mut Body<R>, wanted: bool) -> Result<types::Response, String>
where
    R: HttpBody<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let bytes = match wanted {
        true => body.small(MAX_BODY).await.map_err(|e| format!("failed to read the response's body: {e}"))?,
        false => None,
    };
    let handled = message::response(head, bytes);
    match handled.encoded_len() > MAX_FRAME {
        true => Err("the response's header fields are too large for the plugins".into()),
        false => Ok(handled),
    }
}

const fn wants(want: u32, what: Want) -> bool {
    want & what as u32 != 0
}

/// Tells the sidecar when the response was written, and what it was where the sidecar has not seen it.
fn reporting<R>(ticket: Ticket, response: Response<Body<R>>, bodiless: bool, unseen: bool) -> Response<Body<R>>
where
    R: HttpBody<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let (head, body) = response.into_parts();
    let status = head.status.as_u16().into();
    let told = unseen.then(|| message::response(&head, None)).filter(|told| told.encoded_len() <= MAX_FRAME);
    let done = move |Written { bytes, aborted }| {
        ticket.end(Frame::Written(app::Written { status, bytes, aborted, response: told }));
    };
    Response::from_parts(head, body.reporting(bodiless, done))
}

fn failed(text: &str) -> Frame {
    Frame::Failed(Failure {
        class: Class::Handler.into(),
        plugin: String::new(),
        stage: "handler".into(),
        text: text.into(),
    })
}

/// The time inside the handler: a panic in it is told as its failure, anything else that ends it is a cancel.
struct Handling(Option<Parked>);

impl Handling {
    fn end(mut self) -> Option<Parked> {
        self.0.take()
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        if let Some(parked) = self.0.take().filter(|_| thread::panicking()) {
            parked.ticket.end(failed("the handler panicked"));
        }
    }
}
