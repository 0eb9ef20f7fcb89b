//! A resource as the API server would judge it: its form, then the schema's rules. What a Plugin means is `plugin`'s. Pure.

use super::{document::Checked, finding::Finding, plugin, schema};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::{CustomResourceExt as _, cel::Validator};
use rockstar_core::{document::Placed, limits::Limits};
use rockstar_crds::{
    Plugin, PluginHost,
    names::{GROUP, VERSION},
};
use serde_json::{Value, json};

pub(crate) fn check(document: &Placed) -> Checked {
    let value = &document.value;
    if !is_ours(value) {
        return Checked { what: format!("{}, not checked", title(value)), findings: Vec::new() };
    }
    let findings = match value["kind"].as_str() {
        Some("Plugin") => check_plugin(value),
        Some("PluginHost") => check_host(value),
        _ => vec![expected("kind", "Plugin or PluginHost", &value["kind"])],
    };
    let placed = findings.into_iter().map(|one| one.in_document(document));
    Checked { what: title(value), findings: placed.collect() }
}

fn is_ours(value: &Value) -> bool {
    let group = value["apiVersion"].as_str().and_then(|version| version.split_once('/')).map(|(group, _)| group);
    group == Some(GROUP) || (group.is_none() && matches!(value["kind"].as_str(), Some("Plugin" | "PluginHost")))
}

/// Such as `Plugin shop/auth-plugin`.
fn title(value: &Value) -> String {
    let text = |field: &Value| field.as_str().unwrap_or("?").to_owned();
    let (kind, name) = (text(&value["kind"]), text(&value["metadata"]["name"]));
    match value["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

fn check_plugin(value: &Value) -> Vec<Finding> {
    let mut findings = check_form(value, Plugin::crd());
    plugin::check(&value["spec"], &mut findings);
    findings
}

fn check_host(value: &Value) -> Vec<Finding> {
    let mut findings = check_form(value, PluginHost::crd());
    if findings.iter().any(Finding::is_error) {
        return findings;
    }
    if let Some(Err(error)) = value["spec"]["limits"].as_object().map(Limits::read) {
        findings.push(Finding::error("spec.limits", error.to_string()));
    }
    findings
}

fn check_form(value: &Value, definition: CustomResourceDefinition) -> Vec<Finding> {
    let schema = schema_of(definition);
    let mut findings = check_identity(value);
    findings.extend(schema::check(&schema, value, ""));
    // Rules may assume the form.
    if !findings.iter().any(Finding::is_error) {
        findings.extend(broken_rules(&schema, value));
    }
    findings
}

/// The definition's schema; the fields that every resource has are the API server's.
fn schema_of(definition: CustomResourceDefinition) -> Value {
    let version = definition.spec.versions.into_iter().next();
    let schema = version.and_then(|version| version.schema).and_then(|schema| schema.open_api_v3_schema);
    let mut schema = json!(schema);
    for (field, form) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
        schema["properties"][field] = json!({"type": form});
    }
    schema
}

fn check_identity(value: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let version = format!("{GROUP}/{VERSION}");
    if value["apiVersion"] != version {
        findings.push(expected("apiVersion", &version, &value["apiVersion"]));
    }
    if value["metadata"]["name"].as_str().is_none_or(str::is_empty) {
        findings.push(Finding::error("metadata.name", "missing required field: name"));
    }
    findings
}

fn expected(field: &str, wanted: &str, found: &Value) -> Finding {
    Finding::error(field, format!("expected {wanted}, found {}", schema::found(found)))
}

fn broken_rules(schema: &Value, value: &Value) -> Vec<Finding> {
    let broken = Validator::new().validate(schema, value, None);
    let broken = broken.err().map(|errors| errors.into_vec()).unwrap_or_default();
    broken.into_iter().map(|one| Finding::error(one.field_path, one.message)).collect()
}
