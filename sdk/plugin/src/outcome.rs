//! What became of a call into the plugin's code: success, error or panic, as the wire says it. Pure.

use crate::Error;
use futures::FutureExt;
use rockstar_proto::types::{Failure, failure::Class};
use std::{any::Any, future::Future, panic::AssertUnwindSafe};

/// Runs the plugin's code; an error or a panic becomes a failure of that stage.
pub(crate) async fn caught<T>(stage: &str, code: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    match AssertUnwindSafe(code).catch_unwind().await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failure(Class::Returned, stage, chain(error.as_ref()))),
        Err(panic) => Err(failure(Class::Panic, stage, format!("panic: {}", message(panic.as_ref())))),
    }
}

/// The plugin's name is filled by the host.
pub(crate) fn failure(class: Class, stage: &str, text: String) -> Failure {
    Failure { class: class.into(), plugin: String::new(), stage: stage.into(), text }
}

/// The error's text with its causes, each said once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = e.source();
    }
    text
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of unknown type")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn errors_and_panics_have_their_text() {
        let returned = caught::<()>("Start", async { Err("invalid request".into()) }).await.unwrap_err();
        assert_eq!((returned.class(), returned.text.as_str()), (Class::Returned, "invalid request"));
        let panicked = caught::<()>("Initialize", async { panic!("boom {}", 1) }).await.unwrap_err();
        assert_eq!((panicked.class(), panicked.text.as_str()), (Class::Panic, "panic: boom 1"));
        assert_eq!(panicked.stage, "Initialize");
    }
}
