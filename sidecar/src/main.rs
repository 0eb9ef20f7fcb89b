//! rockstar-sidecar: reads arguments and runs.

use clap::Parser;
use rockstar_sidecar::{
    app,
    args::Arguments,
    logging,
    process::{cleanup, sandbox, stub},
};
use std::{process::ExitCode, time::Duration};

/// How long the end waits for blocking work, such as the removal of directories.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|a| a == stub::NAME).is_some() {
        return stub::run(arguments).into();
    }
    if arguments.next_if(|a| a == sandbox::PROBE).is_some() {
        return sandbox::probe().into();
    }
    if arguments.next_if(|a| a == cleanup::NAME).is_some() {
        protect();
        return cleanup::run().into();
    }
    let arguments = Arguments::parse();
    let _logging = logging::init(arguments.log_format);
    protect();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let outcome = runtime.block_on(app::run(arguments));
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Plugins run as the same user: none may look into this process's memory, where others' secrets are.
fn protect() {
    if let Err(cause) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!(%cause, "Other processes of this user may read the sidecar's memory: {cause}");
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("Error: {error}");
    ExitCode::FAILURE
}
