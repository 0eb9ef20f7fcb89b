//! Who says what should run: a file, or an operator. Memory only.

use crate::{
    manager::{Manager, ManagerError},
    standalone::Standalone,
    target::Target,
};
use rockstar_core::assignment::Queue;
use std::sync::Arc;
use tokio::sync::watch;

#[derive(Clone, Debug)]
pub enum Authority {
    File(Arc<Standalone>),
    /// The host's name, as namespace/name; empty until the first snapshot.
    Operator(watch::Receiver<String>),
}

impl Authority {
    /// Whether it has said what should run.
    #[must_use]
    pub fn is_known(&self) -> bool {
        match self {
            Self::File(_) => true,
            Self::Operator(host) => !host.borrow().is_empty(),
        }
    }

    /// A text if changes are not ours to make.
    #[must_use]
    pub fn managed_by(&self) -> Option<String> {
        match self {
            Self::File(_) => None,
            Self::Operator(host) => Some(format!("managed by PluginHost {}", *host.borrow())),
        }
    }

    /// With the file as it is now, or the same revision once more.
    pub async fn reload(self, manager: Arc<Manager>, name: String, queue: Option<Queue>) -> Result<(), ManagerError> {
        match self {
            Self::File(standalone) => standalone.reload(&name, queue).await,
            Self::Operator(_) => {
                let target = manager.get(&name).and_then(|info| info.target);
                let target: Arc<Target> = target.ok_or(ManagerError::NotFound(name))?;
                manager.reload((*target).clone(), queue).await
            }
        }
    }
}

/// Carries a change to its end even if the caller goes away, for half a reload would leave a plugin held.
pub async fn uninterrupted<T: Send + 'static>(
    change: impl Future<Output = Result<T, ManagerError>> + Send + 'static,
) -> Result<T, ManagerError> {
    let outcome = tokio::spawn(change).await;
    outcome.unwrap_or_else(|error| Err(ManagerError::Plugins(vec![format!("the change was cut short: {error}")])))
}
