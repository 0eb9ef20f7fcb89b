//! What a Plugin means: its manifest, its configuration against the manifest's schema, its grants against what is
//! declared. The rules are the operator's. Pure.

use super::finding::Finding;
use rockstar_core::{
    config::{self, ConfigError},
    manifest::{self, Manifest},
    permission::{self, Permission, PermissionError, Permissions},
    resolve::ResolveError,
};
use serde_json::{Map, Value};

const MANIFEST: &str = "spec.manifest";

/// Adds to what is known already: one fault is told once.
pub(crate) fn check(spec: &Value, findings: &mut Vec<Finding>) {
    let told = |findings: &[Finding]| findings.iter().any(|one| one.is_error() && one.field.starts_with(MANIFEST));
    let manifest = match manifest::from_value(&spec["manifest"]) {
        Ok(parsed) => parsed.manifest,
        Err(_) if told(findings) || spec["manifest"].is_null() => return,
        Err(error) => {
            let field = [MANIFEST, error.field.as_str()].into_iter().filter(|part| !part.is_empty());
            findings.push(Finding::error(field.collect::<Vec<_>>().join("."), error.to_string()));
            return;
        }
    };
    findings.extend(check_dependencies(&manifest));
    findings.extend(check_config(spec, &manifest));
    findings.extend(check_grants(&spec["permissions"], &manifest));
}

/// Other plugins are not known here, but nobody can wait for itself.
fn check_dependencies(manifest: &Manifest) -> Option<Finding> {
    let place = manifest.dependencies.iter().position(|dependency| dependency.name == manifest.name)?;
    let path = vec![manifest.name.clone(), manifest.name.clone()];
    Some(Finding::error(format!("{MANIFEST}.dependencies[{place}]"), ResolveError::Circular { path }.to_string()))
}

/// Keys that come from Secrets and ConfigMaps are not known here.
fn check_config(spec: &Value, manifest: &Manifest) -> Vec<Finding> {
    let elsewhere: Vec<_> =
        spec["configFrom"].as_array().into_iter().flatten().filter_map(|one| one["key"].as_str()).collect();
    let mut schema = manifest.config.clone();
    schema.retain(|key, _| !elsewhere.contains(&key.as_str()));
    let mut given = spec["config"].as_object().cloned().unwrap_or_else(Map::new);
    given.retain(|key, _| !elsewhere.contains(&key.as_str()));
    match config::apply(&schema, &given) {
        Ok(applied) => applied.warnings.into_iter().map(|text| Finding::warning("spec.config", text)).collect(),
        Err(error) => vec![config_error(&error)],
    }
}

fn config_error(error: &ConfigError) -> Finding {
    let field = match error {
        ConfigError::WrongType { key, .. } => format!("spec.config.{key}"),
        ConfigError::Missing { .. } => "spec.config".to_owned(),
        ConfigError::WrongDefault { key, .. } => format!("{MANIFEST}.config.{key}.default"),
    };
    Finding::error(field, error.to_string())
}

fn check_grants(grants: &Value, manifest: &Manifest) -> Option<Finding> {
    let given = grants.as_object().into_iter().flatten().filter(|(_, on)| **on == true);
    let granted: Permissions = given.filter_map(|(name, _)| name.parse::<Permission>().ok()).collect();
    let error = permission::check_declared(manifest, &granted).err()?;
    let name = match &error {
        PermissionError::NotDeclared(permission) => permission.name(),
        PermissionError::Denied { .. } | PermissionError::Unknown(_) => "",
    };
    Some(Finding::error(format!("spec.permissions.{name}"), error.to_string()))
}
