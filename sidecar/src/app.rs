//! The sidecar as a whole: built from its arguments, run until a signal, and taken down in order. Does I/O.

mod error;
mod operated;
mod paths;
mod servers;
mod signals;
mod standing_alone;

pub use error::AppError;

use crate::{
    args::Arguments,
    artifact::Store,
    backends::Backends,
    bus::Bus,
    confine::Confiner,
    framework::{Framework, RouteBook},
    launch::{Launcher, Limits},
    manager::{Journal, Manager},
    process::{Spawner, sandbox::Parts},
    registry::Registry,
};
use paths::Paths;
use std::sync::Arc;

/// Runs the sidecar until SIGTERM or SIGINT.
pub async fn run(arguments: Arguments) -> Result<(), AppError> {
    // A second call, in tests, finds it installed.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    match (&arguments.config, &arguments.control) {
        (Some(path), _) => standing_alone::run(&arguments, path).await,
        (None, Some(url)) => operated::run(&arguments, url).await,
        (None, None) => Err(AppError::NoAuthority),
    }
}

/// The parts that do not depend on who says what should run.
struct Core {
    manager: Arc<Manager>,
    store: Store,
    framework: Arc<Framework>,
}

impl Core {
    fn new(arguments: &Arguments, paths: &Paths, journal: Box<dyn Journal>) -> Result<Self, AppError> {
        let prepare = |what| move |cause| AppError::Prepare { what, cause };
        let registry = Arc::new(Registry::default());
        let store = Store::open(&paths.data).map_err(prepare("the data directory"))?;
        let store = store.with_insecure_registries(arguments.insecure_registries.clone());
        let stub = std::env::current_exe().map_err(prepare("the program's own path"))?;
        let framework = Arc::new(Framework {
            registry: Arc::clone(&registry),
            routes: RouteBook::default(),
            bus: Bus::new(Arc::clone(&registry)),
            backends: Backends::new(&paths.data),
        });
        let parts = Parts::find(&stub).unwrap_or_else(|cause| {
            tracing::error!(%cause, "Failed to find out what this kernel can enforce: {cause}");
            Parts::default()
        });
        let launcher = Launcher {
            spawner: Spawner::new(stub).map_err(prepare("the thread that starts processes"))?,
            store: store.clone(),
            run: paths.plugins.clone(),
            limits: Limits::default(),
            memory: arguments.memory_limit,
            framework: Arc::clone(&framework),
            confiner: Arc::new(Confiner::new(parts, arguments.volumes.clone())),
        };
        let manager = Manager::new(registry, launcher, arguments.framework_version.clone(), journal);
        Ok(Self { manager, store, framework })
    }
}
