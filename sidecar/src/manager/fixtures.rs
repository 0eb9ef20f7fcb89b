//! Targets for the tests of the manager's pure parts.

use crate::target::Target;
use rockstar_core::{
    assignment::{Assignment, Policies},
    permission::Permissions,
    revision::{Body, RevisionId},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Makes an unproven target of the plugin and version of `a-2`.
pub(super) fn target(revision: &str) -> Target {
    target_with(revision, &json!([]))
}

/// Makes one that requires the newest version of other plugins.
pub(super) fn requiring(revision: &str, plugins: &[&str]) -> Target {
    let need = |plugin: &&str| json!({"name": plugin, "version": ">=1.0.0"});
    target_with(revision, &plugins.iter().map(need).collect())
}

/// Makes one that requires a version of another plugin.
pub(super) fn requiring_version(revision: &str, plugin: &str, version: &str) -> Target {
    target_with(revision, &json!([{"name": plugin, "version": version}]))
}

pub(super) fn stable(revision: &str) -> Target {
    Target { stable: true, ..target(revision) }
}

fn target_with(revision: &str, dependencies: &Value) -> Target {
    let (plugin, number) = revision.split_once('-').unwrap();
    let version = format!("{number}.0.0");
    let manifest = json!({
        "name": plugin, "version": version, "description": "d", "author": "a", "dependencies": dependencies,
    });
    let body: Body = serde_json::from_value(json!({"manifest": manifest, "source": {"path": {"path": "/p"}}})).unwrap();
    let assignment = Assignment {
        plugin: plugin.to_owned(),
        revision: RevisionId(revision.to_owned()),
        config: <_>::default(),
        permissions: Permissions::new(),
        policies: Policies::default(),
        reload_at: String::new(),
        retry_token: String::new(),
    };
    Target {
        assignment,
        body: Arc::new(body),
        pull_secret: None,
        pinned: None,
        stable: false,
        unconfigured: false,
        place: 0,
    }
}

/// The revision of a target; empty: none.
pub(super) fn revision(target: Option<&Target>) -> String {
    target.map(|target| target.assignment.revision.0.clone()).unwrap_or_default()
}
