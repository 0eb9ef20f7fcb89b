//! A sidecar whose plugins file says what to run. Does I/O.

use super::{AppError, Core, Paths, servers::Servers, signals::stopped};
use crate::{
    admin::Token,
    args::Arguments,
    authority::Authority,
    manager::LogOnly,
    readiness::Readiness,
    standalone::{self, Hangups, Standalone},
    tables::{self, Tables},
};
use rockstar_core::pluginsfile::PluginsFile;
use std::{convert::Infallible, path::Path, sync::Arc};

pub(super) async fn run(arguments: &Arguments, path: &Path) -> Result<(), AppError> {
    let text = std::fs::read(path).ok();
    let file = standalone::read(path)?;
    let paths = Paths::new(arguments)?;
    if arguments.data_dir.is_none() && file.backends.storage.is_none() {
        tracing::info!("StorageEphemeral: what plugins store ends with this process; --data-dir keeps it");
    }
    let Core { manager, store, framework } = Core::new(arguments, &paths, Box::<LogOnly>::default())?;
    let standalone = Arc::new(Standalone::new(Arc::clone(&manager), store, framework, path));
    let authority = Authority::File(Arc::clone(&standalone));
    let token = Token::create(&paths.run).map_err(|cause| AppError::Prepare { what: "the admin token", cause })?;
    let mut servers = Servers::start(arguments, &manager, authority, Arc::new(Readiness::default()), token).await?;
    let tables = Tables::start(Arc::clone(&manager), &paths.data, tables::instance(&arguments.socket()));
    let outcome = tokio::select! {
        error = servers.ended() => Err(error),
        () = stopped() => Ok(()),
        Err(error) = serve(arguments, path, file, text, &standalone) => Err(error),
    };
    manager.shut_down().await;
    tokio::join!(manager.shared().bus.finish(), tables.finish());
    outcome
}

/// Ends only if it may not begin.
async fn serve(
    arguments: &Arguments,
    path: &Path,
    file: PluginsFile,
    text: Option<Vec<u8>>,
    standalone: &Standalone,
) -> Result<Infallible, AppError> {
    let hangups = Hangups::new();
    let loaded = standalone.load(file).await;
    if !loaded.failed.is_empty() {
        tracing::warn!("{loaded}");
        if arguments.strict {
            return Err(AppError::Strict(loaded.to_string()));
        }
    }
    Ok(standalone::follow(standalone, path, text, Some(loaded), hangups).await)
}
