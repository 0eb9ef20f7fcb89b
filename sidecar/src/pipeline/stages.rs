//! The stages of an exchange in their order: before the handler, after it, after the response was written, and what is
//! told of failures in between. Calls plugins.

use super::{Pipeline, exchange::Exchange, verdict::Refused};
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
        self.phase(HookType::PreRequest, exchange).await;
        self.errors(exchange).await;
        if exchange.refused.is_none() && !exchange.answered {
            return Frame::Proceed(Proceed { change: Some(exchange.request_change()), want: self.want() });
        }
        self.phase(HookType::PreResponse, exchange).await;
        self.errors(exchange).await;
        Frame::Answer(exchange.answer())
    }

    /// From the handler's response to the one that is written.
    pub(super) async fn after(&self, exchange: &mut Exchange, response: Response) -> Frame {
        if response.status >= 500 {
            exchange.failures.push(handler_failure(format!("the handler answered {}", response.status)));
        }
        exchange.handled(response);
        self.phase(HookType::PostRequest, exchange).await;
        self.errors(exchange).await;
        self.phase(HookType::PreResponse, exchange).await;
        self.errors(exchange).await;
        match exchange.refused {
            Some(_) => Frame::Answer(exchange.answer()),
            None => Frame::Finish(exchange.response_change()),
        }
    }

    /// Nobody waits for this any more.
    pub(super) async fn written(&self, exchange: &mut Exchange, written: Written) {
        exchange.written(written.response, written.status);
        if written.aborted {
            return self.cancelled(exchange).await;
        }
        if self.table().of(HookType::PostResponse).is_empty() {
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
        self.phase(HookType::PostResponse, exchange).await;
        self.errors(exchange).await;
    }

    /// The client is gone: no answer, no post hooks.
    pub(super) async fn cancelled(&self, exchange: &mut Exchange) {
        exchange.failures = vec![Failure {
            class: Class::Cancelled.into(),
            text: "the client closed the connection".into(),
            ..Failure::default()
        }];
        exchange.restart_clock();
        self.errors(exchange).await;
    }

    /// The application could not make a response.
    pub(super) async fn handler_failed(&self, exchange: &mut Exchange, text: String) {
        exchange.failures.push(handler_failure(text));
        exchange.restart_clock();
        self.errors(exchange).await;
    }

    /// Tells the error hooks of each failure.
    async fn errors(&self, exchange: &mut Exchange) {
        while !exchange.failures.is_empty() {
            self.phase(HookType::Error, exchange).await;
            exchange.failures.remove(0);
        }
    }

    /// What the application must show and tell of its response.
    fn want(&self) -> u32 {
        let table = self.table();
        let after = [HookType::PostRequest, HookType::PreResponse];
        let wants = [
            (Want::ResponseHead, after.iter().any(|kind| !table.of(*kind).is_empty())),
            (Want::ResponseBody, after.iter().any(|kind| table.wants_body(*kind))),
            (Want::Written, !table.of(HookType::PostResponse).is_empty()),
            (Want::Failure, !table.of(HookType::Error).is_empty()),
        ];
        wants.into_iter().filter(|(_, wanted)| *wanted).fold(0, |bits, (want, _)| bits | want as u32)
    }
}

fn handler_failure(text: String) -> Failure {
    Failure { class: Class::Handler.into(), plugin: String::new(), stage: "handler".into(), text }
}
