//! Plugins. Pure.

use super::{Opinion, Surroundings};
use rockstar_core::{
    config,
    manifest::{ConfigKey, LoadError, Manifest, from_value},
    permission,
    resolve::ResolveError,
};
use rockstar_crds::{FieldError, Plugin, PluginHostSpec, PluginSpec};
use std::fmt::Display;

/// A Plugin that is made or changed.
#[must_use]
pub fn plugin(object: &Plugin, around: &Surroundings) -> Opinion {
    let mut opinion = Opinion::default();
    match from_value(&object.spec.manifest) {
        Err(error) => {
            let dot = if error.field.is_empty() { "" } else { "." };
            opinion.deny(&format!("spec.manifest{dot}{}", error.field.clone()), LoadError(error));
        }
        Ok(parsed) => {
            opinion.warnings.extend(parsed.warnings.into_iter().map(|warning| format!("spec.manifest: {warning}")));
            opinion.cycle(&parsed.manifest);
            opinion.permissions(&object.spec, &parsed.manifest);
            opinion.config(&object.spec, &parsed.manifest);
            opinion.fields(&object.spec);
            opinion.surroundings(object, &parsed.manifest, around);
        }
    }
    opinion
}

/// A Plugin that is deleted: never refused.
#[must_use]
pub fn plugin_deletion(object: &Plugin, around: &Surroundings) -> Opinion {
    let Ok(parsed) = from_value(&object.spec.manifest) else { return Opinion::default() };
    let name = parsed.manifest.name;
    let others = around.neighbours.iter().flatten().filter(|n| n.host == object.spec.host);
    let dependents: Vec<_> = others.filter(|n| n.requires(&name)).map(|n| format!("'{}'", n.plugin)).collect();
    if dependents.is_empty() {
        return Opinion::default();
    }
    let warning = format!(
        "plugin '{name}' is required by {}: it is unloaded all the same; they keep running without it",
        dependents.join(", ")
    );
    Opinion { warnings: vec![warning], ..Opinion::default() }
}

impl Opinion {
    fn deny(&mut self, path: &str, why: impl Display) {
        self.denials.push(format!("{path}: {why}"));
    }

    fn check<T>(&mut self, result: Result<T, FieldError>) {
        if let Err(error) = result {
            self.denials.push(error.to_string());
        }
    }

    fn cycle(&mut self, manifest: &Manifest) {
        if manifest.dependencies.iter().any(|dependency| dependency.name == manifest.name) {
            let path = vec![manifest.name.clone(), manifest.name.clone()];
            self.deny("spec.manifest.dependencies", ResolveError::Circular { path });
        }
    }

    fn permissions(&mut self, spec: &PluginSpec, manifest: &Manifest) {
        match spec.granted() {
            Err(error) => self.check::<()>(Err(error)),
            Ok(granted) => {
                if let Err(error) = permission::check_declared(manifest, &granted) {
                    self.deny("spec.permissions", error);
                }
            }
        }
    }

    /// Values from elsewhere may change at any time; only their keys are looked at.
    fn config(&mut self, spec: &PluginSpec, manifest: &Manifest) {
        let elsewhere = |key: &str| spec.config_from.iter().any(|from| from.key == key);
        let here = manifest.config.iter().filter(|(key, _)| !elsewhere(key));
        let schema = here.map(|(key, rule): (&String, &ConfigKey)| (key.clone(), rule.clone())).collect();
        let given = spec.config.iter().filter(|(key, _)| !elsewhere(key));
        match config::apply(&schema, &given.map(|(key, value)| (key.clone(), value.clone())).collect()) {
            Ok(applied) => {
                self.warnings.extend(applied.warnings.into_iter().map(|warning| format!("spec.config: {warning}")))
            }
            Err(error) => self.deny("spec.config", error),
        }
        let unknown = spec.config_from.iter().filter(|from| !manifest.config.contains_key(&from.key));
        let warnings =
            unknown.map(|from| format!("spec.configFrom: the manifest has no configuration key '{}'", from.key));
        self.warnings.extend(warnings);
    }

    fn fields(&mut self, spec: &PluginSpec) {
        self.check(spec.body());
        // The host's own settings are checked with the host.
        self.check(spec.policies(&PluginHostSpec::of("0.0.0")));
    }

    fn surroundings(&mut self, object: &Plugin, manifest: &Manifest, around: &Surroundings) {
        let host = &object.spec.host;
        if around.host == Some(false) {
            let warning = format!("there is no PluginHost '{host}' in this namespace (yet); the plugin waits for it");
            self.warnings.push(warning);
        }
        self.warnings.extend(around.missing.iter().map(|m| format!("{}: there is no {} (yet)", m.field, m.object)));
        let Some(neighbours) = &around.neighbours else { return };
        let here = || neighbours.iter().filter(|n| n.host == *host);
        let twins = here().filter(|n| n.plugin == manifest.name && object.metadata.name.as_deref() != Some(&n.object));
        self.warnings.extend(twins.map(|n| {
            format!("Plugin '{}' already gives '{}' to host '{host}'; only the older one is used", n.object, n.plugin)
        }));
        let required = manifest.dependencies.iter().filter(|d| !d.optional && d.name != manifest.name);
        let missing = required.filter(|d| !here().any(|n| n.plugin == d.name));
        self.warnings.extend(missing.map(|d| {
            let (plugin, dependency, constraint) = (manifest.name.clone(), d.name.clone(), d.version.clone());
            ResolveError::Missing { plugin, dependency, constraint }.to_string()
        }));
    }
}
