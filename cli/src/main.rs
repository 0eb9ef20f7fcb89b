//! The `rockstar` command; named `kubectl-rockstar` it is the kubectl plugin. Reads the arguments, runs the command.

mod args;
mod bound;
mod dev;
mod manage;
mod new;
mod push;
mod terminal;
mod validate;
mod version;

use anyhow::Context as _;
use args::{Args, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::from_command_line();
    run(args.command).unwrap_or_else(|error| terminal::fail(&error))
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::BoundExec { parent, command } => Err(bound::run(parent, &command).into()),
        Command::New(args) => new::run(&args),
        Command::Version(args) => version::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Push(args) => block_on(push::run(args)),
        Command::Manage(command) => block_on(manage::run(command)),
        Command::Dev(args) => block_on(dev::run(args)),
    }
}

fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    // An error means that there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Runtime::new().context("cannot start")?.block_on(command)
}
