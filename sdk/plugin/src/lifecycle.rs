//! The plugin's lifecycle methods, one at a time, Stop at most once per Start.

use crate::{
    Plugin, PluginConfig, PluginContext,
    outcome::{caught, failure},
};
use rockstar_proto::types::{Failure, failure::Class};
use tokio::sync::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Loaded,
    Initialized,
    Started,
    Stopped,
}

#[derive(Debug)]
pub(crate) struct Lifecycle<P>(Mutex<State<P>>);

#[derive(Debug)]
struct State<P> {
    plugin: P,
    phase: Phase,
}

impl<P: Plugin> Lifecycle<P> {
    pub(crate) fn new(plugin: P) -> Self {
        Self(Mutex::new(State { plugin, phase: Phase::Loaded }))
    }

    pub(crate) async fn initialize(&self, ctx: PluginContext) -> Result<(), Failure> {
        let mut state = self.0.lock().await;
        if state.phase != Phase::Loaded {
            return Err(failure(Class::Protocol, "Initialize", "Initialize was called twice".into()));
        }
        caught("Initialize", state.plugin.initialize(ctx)).await?;
        state.phase = Phase::Initialized;
        Ok(())
    }

    pub(crate) async fn start(&self) -> Result<(), Failure> {
        let mut state = self.0.lock().await;
        caught("Start", state.plugin.start()).await?;
        state.phase = Phase::Started;
        Ok(())
    }

    /// A repeated Stop, or one of a plugin that never was initialised, does nothing.
    pub(crate) async fn stop(&self) -> Result<(), Failure> {
        let mut state = self.0.lock().await;
        if matches!(state.phase, Phase::Loaded | Phase::Stopped) {
            return Ok(());
        }
        state.phase = Phase::Stopped;
        caught("Stop", state.plugin.stop()).await
    }

    pub(crate) async fn cleanup(&self) -> Result<(), Failure> {
        caught("Cleanup", self.0.lock().await.plugin.cleanup()).await
    }

    pub(crate) async fn on_config_change(&self, config: PluginConfig) -> Result<(), Failure> {
        caught("OnConfigChange", self.0.lock().await.plugin.on_config_change(config)).await
    }
}
