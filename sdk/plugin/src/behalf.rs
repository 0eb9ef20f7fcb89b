//! On behalf of which of the host's calls the plugin's code runs. The host is told with whatever that code asks of it: what
//! waits for a version cannot be waited for by it. No I/O.

use rockstar_proto::CALL;
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tonic::{Request, Status, service::Interceptor};

tokio::task_local! {
    static RUNNING: Behalf;
}

/// A call's id; 0 is none. Shared, since middleware goes on in another call than the one in which it began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behalf(Arc<AtomicU64>);

impl Behalf {
    pub(crate) fn of(call: u64) -> Self {
        Self(Arc::new(call.into()))
    }

    /// Of the code that asks.
    pub(crate) fn current() -> Self {
        RUNNING.try_with(Clone::clone).unwrap_or_default()
    }

    /// From now on the code runs for that call.
    pub(crate) fn pass_to(&self, other: &Self) {
        self.0.store(other.id(), Relaxed);
    }

    pub(crate) fn scope<F: Future>(self, code: F) -> impl Future<Output = F::Output> {
        RUNNING.scope(self, code)
    }

    fn id(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Names the running call to the host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnBehalf;

impl Interceptor for OnBehalf {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let call = Behalf::current().id();
        if call != 0 {
            request.metadata_mut().insert(CALL, call.into());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Option<String> {
        let request = OnBehalf.call(Request::new(())).unwrap();
        request.metadata().get(CALL).map(|id| id.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn the_running_call_is_told_and_no_other() {
        let behalf = Behalf::of(7);
        let first = behalf.clone().scope(async { told() }).await;
        behalf.pass_to(&Behalf::of(8));
        let second = behalf.scope(async { (told(), tokio::spawn(async { told() }).await.unwrap()) }).await;
        assert_eq!((first.as_deref(), second), (Some("7"), (Some("8".to_owned()), None)));
        assert_eq!(told(), None);
    }
}
