//! The chains that are measured, each of real processes. Starts them, and owns them until it is dropped.

use crate::{
    app::{Stream, Unary},
    child::Child,
    load::{Measured, Target, Window, measure},
    sidecar::{PLUGIN, Sidecar, beside},
    socket,
};
use anyhow::{Context as _, Result, bail};
use std::{path::Path, process::Command};

/// The numbers of callers of each measurement.
pub(crate) const CALLERS: [usize; 2] = [1, 64];

/// One row of the result.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) measured: Vec<Measured>,
}

/// tonic over two hops, nothing done on the way.
pub(crate) async fn raw(window: Window) -> Result<[Row; 2]> {
    let files = tempfile::tempdir()?;
    let (plugin, sidecar) = (files.path().join("plugin.sock"), files.path().join("sidecar.sock"));
    let program = std::env::current_exe()?;
    let _leaf = Child::start([program.as_os_str(), "leaf".as_ref(), plugin.as_os_str()])?;
    socket::wait(&plugin).await?;
    let _relay = Child::start([program.as_os_str(), "relay".as_ref(), sidecar.as_os_str(), plugin.as_os_str()])?;
    socket::wait(&sidecar).await?;
    let unary = row("tonic, two hops, unary calls", &Unary::connect(&sidecar).await?, window).await?;
    let stream = row("tonic, two hops, one stream a hop", &Stream::connect(&sidecar).await?, window).await?;
    Ok([unary, stream])
}

/// The product: a real sidecar, and a plugin made with the SDK.
pub(crate) async fn rockstar(window: Window) -> Result<Row> {
    let sidecar = Sidecar::start(Some(&beside(PLUGIN)?)).await?;
    row("rockstar, two hops", &Stream::connect(&sidecar.socket).await?, window).await
}

async fn row<T: Target>(name: &'static str, target: &T, window: Window) -> Result<Row> {
    let mut measured = Vec::new();
    for callers in CALLERS {
        measured.push(measure(target, callers, window).await.with_context(|| format!("{name}, {callers} callers"))?);
    }
    Ok(Row { name, measured })
}

/// go-plugin measures itself: host and plugin are one Go program.
pub(crate) fn go_plugin(program: &Path, window: Window) -> Result<Row> {
    let output = Command::new(program)
        .arg("-callers")
        .arg(CALLERS.map(|n| n.to_string()).join(","))
        .arg("-warm-up")
        .arg(format!("{}ms", window.warm_up.as_millis()))
        .arg("-duration")
        .arg(format!("{}ms", window.counted.as_millis()))
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        bail!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    }
    let lines = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    Ok(Row { name: "go-plugin, one hop", measured: lines.collect::<Result<_, _>>()? })
}
