//! `rockstar dev`: the operator's logic, sidecars with real plugin processes and copies of an application, on this
//! machine, from the YAML that a cluster gets. Joins the parts; ends all of them.

mod children;
mod demo;
mod instance;
mod ports;
mod screen;
mod session;
mod table;

use crate::args::DevArgs;
use anyhow::Context as _;
use session::{Options, Session};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) async fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    let stopped = stopped()?;
    if args.demo {
        return demo::run(&args, stopped).await;
    }
    let (session, exited) = Session::start(Options::new(&args, &args.directory)?).await?;
    let shown = screen::show(&session, exited, stopped).await;
    let ended = session.end(args.keep).await;
    shown.and(ended)?;
    Ok(ExitCode::SUCCESS)
}

/// Ends when the user or the system asks this program to.
fn stopped() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let listen = |kind| signal(kind).context("cannot listen to signals");
    let (mut int, mut term, mut hup) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    Ok(async move {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
        }
    })
}
