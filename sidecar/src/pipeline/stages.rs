//! The stages of an exchange in their order: before the handler, after it, after the response was written, and what is
//! told of failures in between. Calls plugins.

use super::{Pipeline, exchange::Exchange, parked::Parked, table::Phase, verdict::Refused};
use rockstar_core::manifest::HookType;
use rockstar_proto::{
    app::{Proceed, Want, Written, host_frame::Frame},
    types::{Failure, Response, failure::Class},
};
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::timeout_at;

impl Pipeline {
    /// Up to the handler.
    pub(super) async fn before(&self, exchange: &mut Exchange) -> Frame {
        // Until the first set ran, nobody knows who would have listened.
        let mut ready = self.ready.clone();
        if timeout_at(exchange.deadline, ready.wait_for(|ready| *ready)).await.is_err() {
            exchange.refuse(Refused::unavailable("service unavailable: the plugins are not running yet", 1));
            return Frame::Answer(exchange.answer());
        }
        self.hooks(HookType::PreRequest, exchange).await;
        if exchange.is_open() {
            self.phase(Phase::Inward, exchange).await;
            self.errors(exchange).await;
        }
        if exchange.is_open() {
            if !self.route(exchange).await {
                return Frame::Proceed(self.proceed(exchange));
            }
            self.errors(exchange).await;
            self.hooks(HookType::PostRequest, exchange).await;
        }
        self.outward(exchange).await;
        self.errors(exchange).await;
        self.hooks(HookType::PreResponse, exchange).await;
        Frame::Answer(exchange.answer())
    }

    /// The hooks of that type, and the error hooks for what fails in them.
    async fn hooks(&self, kind: HookType, exchange: &mut Exchange) {
        self.phase(Phase::Hooks(kind), exchange).await;
        self.errors(exchange).await;
    }

    fn proceed(&self, exchange: &mut Exchange) -> Proceed {
        // What the handler causes must be known as such only where it can wait for itself.
        let name = if exchange.parked.is_empty() { String::new() } else { exchange.id().to_owned() };
        Proceed { change: Some(exchange.request_change()), want: self.want(exchange), exchange: name }
    }

    /// From the handler's response to the one that is written.
    pub(super) async fn after(&self, exchange: &mut Exchange, response: Response) -> Frame {
        if response.status >= 500 {
            exchange.failures.push(handler_failure(format!("the handler answered {}", response.status)));
        }
        exchange.handled(response);
        self.hooks(HookType::PostRequest, exchange).await;
        self.outward(exchange).await;
        self.errors(exchange).await;
        self.hooks(HookType::PreResponse, exchange).await;
        match exchange.refused {
            Some(_) => Frame::Answer(exchange.answer()),
            None => Frame::Finish(exchange.response_change()),
        }
    }

    /// Nobody waits for this any more.
    pub(super) async fn written(&self, exchange: &mut Exchange, written: Written) {
        exchange.was_written(written.response, written.status);
        if written.aborted {
            return self.cancelled(exchange).await;
        }
        if self.table().hooks(HookType::PostResponse).is_empty() {
            return;
        }
        let Ok(_room) = self.post_response.try_acquire() else {
            let skipped = self.skipped.fetch_add(1, Relaxed) + 1;
            if skipped % 1000 == 1 {
                tracing::warn!(
                    skipped,
                    "Too many post_response hooks run at once: left out of {skipped} requests so far"
                );
            }
            return;
        };
        self.hooks(HookType::PostResponse, exchange).await;
    }

    /// The client is gone: no answer, no post hooks.
    pub(super) async fn cancelled(&self, exchange: &mut Exchange) {
        exchange.failures = vec![Failure {
            class: Class::Cancelled.into(),
            text: "the client closed the connection".into(),
            ..Failure::default()
        }];
        exchange.restart_clock();
        self.abandon(exchange).await;
        self.errors(exchange).await;
    }

    /// The application could not make a response.
    pub(super) async fn handler_failed(&self, exchange: &mut Exchange, text: String) {
        exchange.failures.push(handler_failure(text));
        exchange.restart_clock();
        self.abandon(exchange).await;
        self.errors(exchange).await;
    }

    /// Tells the error hooks of each failure.
    async fn errors(&self, exchange: &mut Exchange) {
        while !exchange.failures.is_empty() {
            self.phase(Phase::Hooks(HookType::Error), exchange).await;
            exchange.failures.remove(0);
        }
    }

    /// What the application must show and tell of its response.
    fn want(&self, exchange: &Exchange) -> u32 {
        let table = self.table();
        let after = [HookType::PostRequest, HookType::PreResponse];
        let parked = &exchange.parked;
        let head = !parked.is_empty() || after.iter().any(|kind| !table.hooks(*kind).is_empty());
        let body = parked.iter().any(Parked::wants_body) || after.iter().any(|kind| table.wants_body(*kind));
        let wants = [
            (Want::ResponseHead, head),
            (Want::ResponseBody, body),
            (Want::Written, !table.hooks(HookType::PostResponse).is_empty()),
            (Want::Failure, !table.hooks(HookType::Error).is_empty()),
        ];
        wants.into_iter().filter(|(_, wanted)| *wanted).fold(0, |bits, (want, _)| bits | want as u32)
    }
}

fn handler_failure(text: String) -> Failure {
    Failure { class: Class::Handler.into(), plugin: String::new(), stage: "handler".into(), text }
}
