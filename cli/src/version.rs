//! `rockstar version`. Prints; no other I/O.

use crate::args::{Output, VersionArgs};
use std::process::ExitCode;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const API: &str = "plugins.rockstar-framework.dev/v1alpha1";

#[allow(clippy::unnecessary_wraps, reason = "every command has this form")]
pub(crate) fn run(args: &VersionArgs) -> anyhow::Result<ExitCode> {
    match args.output {
        Output::Text => println!("rockstar {VERSION} ({API})"),
        Output::Json => println!("{}", serde_json::json!({"version": VERSION, "apiVersion": API})),
    }
    Ok(ExitCode::SUCCESS)
}
