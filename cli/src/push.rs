//! `rockstar push`: a directory becomes an OCI artifact in a registry. Joins the steps; the I/O is in them.

mod archive;
mod artifact;
mod credentials;
mod package;
mod registry;

use crate::{
    args::PushArgs,
    terminal::{Colour, Paint},
};
use anyhow::Context as _;
use package::Package;
use registry::Registry;
use std::process::ExitCode;

pub(crate) async fn run(args: PushArgs) -> anyhow::Result<ExitCode> {
    let package = match Package::open(&args.directory) {
        Ok(package) => package,
        Err(error) => return Ok(refuse(&error)),
    };
    warn(&package.warnings);
    let target = registry::target(&args.reference, &package.manifest.version)?;
    let registry = Registry::connect(&target, args.insecure).await?;
    let files = archive::pack(&args.directory).with_context(|| format!("packing {}", args.directory.display()))?;
    eprintln!("{} v{}: {} files, {}", package.manifest.name, package.manifest.version, files.count, size(files.bytes));
    let artifact = artifact::describe(&package.manifest, &files)?;
    registry.push(&artifact, files).await.with_context(|| format!("pushing to {target}"))?;
    println!("{target}@{}", artifact.digest);
    Ok(ExitCode::SUCCESS)
}

/// The directory does not hold a plugin: nothing was sent.
fn refuse(error: &package::PackageError) -> ExitCode {
    eprintln!("{} {error}", Paint::for_stderr().apply(Colour::Red, "error:"));
    ExitCode::FAILURE
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("{} {warning}", Paint::for_stderr().apply(Colour::Yellow, "warning:"));
    }
}

/// Bytes for people.
#[allow(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_short() {
        assert_eq!([size(12), size(1536), size(3 << 20)], ["12 B", "1.5 KiB", "3.0 MiB"]);
    }
}
