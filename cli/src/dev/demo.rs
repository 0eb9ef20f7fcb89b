//! `rockstar dev --demo`: plays an upgrade and a bad upgrade on a copy of the quickstart, under load, and says what
//! happens. Joins the parts; the verdict is here.

mod descendants;
mod stage;
mod story;
mod traffic;

use super::{
    screen,
    session::{Options, Session},
};
use crate::args::DevArgs;
use anyhow::{Context as _, Result, bail, ensure};
use stage::Stage;
use std::process::ExitCode;
use story::Story;
use traffic::Counts;

pub(super) async fn run(args: &DevArgs, stopped: impl Future<Output = ()>) -> Result<ExitCode> {
    let stage = Stage::copy(&args.directory)?;
    descendants::adopt()?;
    let (session, mut exited) = Session::start(Options::new(args, stage.directory())?).await?;
    let counts = Counts::default();
    let played = tokio::select! {
        played = Story::new(&session, &stage, &counts).play() => played,
        Some(exit) = exited.recv() => Err(unexpected(&exit)),
        () = stopped => Err(anyhow::anyhow!("stopped before the end")),
    };
    session.end(args.keep || played.is_err()).await?;
    Ok(verdict(played.and(nothing_left().await), &counts))
}

fn unexpected(exit: &super::children::Exited) -> anyhow::Error {
    anyhow::anyhow!("{} ended by itself, {}; its log:\n{}", exit.name, exit.status, screen::tail(exit))
}

async fn nothing_left() -> Result<()> {
    let left = descendants::left().await.context("looking for processes that are left")?;
    ensure!(left.is_empty(), "processes are left behind: {}", left.join(", "));
    println!("All processes have ended.");
    Ok(())
}

/// The last line is for programs.
fn verdict(played: Result<()>, counts: &Counts) -> ExitCode {
    let result = played.and_then(|()| match counts.first_failure() {
        None => Ok(()),
        Some(failure) => bail!("a request failed: {failure}"),
    });
    if let Err(error) = &result {
        println!("It did not go as it should: {error:#}");
    }
    println!("served={} failed={}", counts.served(), counts.failed());
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
