//! Measures a hook's way through the sidecar beside what else could carry it. `bench/run` builds and starts it.

mod app;
mod args;
mod chain;
mod child;
mod footprint;
mod kills;
mod load;
mod message;
mod raw;
mod report;
mod sidecar;
mod socket;

use anyhow::{Context as _, Result};
use args::{Args, Command, RunArgs};
use clap::Parser as _;
use std::{fs, path::Path};

#[tokio::main]
async fn main() -> Result<()> {
    match Args::parse().command {
        Command::Run(args) => run(&args).await,
        Command::Kills { count } => kills::run(&sidecar::beside(sidecar::PLUGIN)?, count).await,
        Command::Become { parent, command } => child::become_program(parent, &command),
        Command::Leaf { socket } => raw::leaf::serve(&socket).await,
        Command::Relay { socket, plugin } => raw::relay::serve(&socket, &plugin).await,
    }
}

/// All chains in one run, so that only the machine of the moment is compared with itself.
async fn run(args: &RunArgs) -> Result<()> {
    let window = args.window();
    eprintln!("tonic …");
    let [unary, stream] = chain::raw(window).await?;
    eprintln!("go-plugin …");
    let peer = chain::go_plugin(&args.go_plugin, window)?;
    eprintln!("rockstar …");
    let ours = chain::rockstar(window).await?;
    let footprint = footprint::measure().await?;
    let ratios = report::ratios(&ours, &[&stream, &unary, &peer]);
    let result =
        format!("{}\n{ratios}\n{}", report::table(&[ours, stream, unary, peer]), report::footprint(&footprint));
    print!("{result}");
    match &args.page {
        Some(page) => write(page, &result),
        None => Ok(()),
    }
}

fn write(page: &Path, result: &str) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let text = report::place(&text, result).with_context(|| format!("{}: no place for the result", page.display()))?;
    Ok(fs::write(page, text)?)
}
