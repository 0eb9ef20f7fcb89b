//! The interface that a plugin implements. Metadata comes from the plugin's manifest unless given in code.

use crate::{Dependency, PluginConfig, PluginContext, Result, manifest};
use async_trait::async_trait;
use serde_json::{Map, Value};

/// A plugin. Its lifecycle methods are called one at a time: `initialize`, `start`, `stop`, `cleanup`.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    fn name(&self) -> String {
        manifest::current().name.clone()
    }

    fn version(&self) -> String {
        manifest::current().version.clone()
    }

    fn description(&self) -> String {
        manifest::current().description.clone()
    }

    fn author(&self) -> String {
        manifest::current().author.clone()
    }

    fn dependencies(&self) -> Vec<Dependency> {
        manifest::current().dependencies.clone()
    }

    /// Called once: keep the context, register hooks, check the configuration. Background work belongs into `start`.
    async fn initialize(&mut self, ctx: PluginContext) -> Result;

    /// Called after all plugins are initialised.
    async fn start(&mut self) -> Result {
        Ok(())
    }

    /// Called on shutdown and before a reload, at most once per `start`.
    async fn stop(&mut self) -> Result {
        Ok(())
    }

    /// Called when the plugin is unloaded, after `stop`.
    async fn cleanup(&mut self) -> Result {
        Ok(())
    }

    /// Key → `{type, required, default, description}`; keys beyond the manifest's are added to it.
    fn config_schema(&self) -> Map<String, Value> {
        manifest::current().config.clone()
    }

    /// Whether the host's calls come on one stream, which is cheaper; else each is a gRPC call of its own.
    fn multiplexed(&self) -> bool {
        true
    }

    /// The whole new configuration, defaults included. An error keeps the old one.
    async fn on_config_change(&mut self, config: PluginConfig) -> Result {
        let _ = config;
        Ok(())
    }
}
