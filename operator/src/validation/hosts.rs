//! PluginHosts. Pure.

use super::Opinion;
use rockstar_crds::{FieldError, PluginHost};

/// A PluginHost that is made or changed.
#[must_use]
pub fn host(object: &PluginHost) -> Opinion {
    let spec = &object.spec;
    let results: [Result<(), FieldError>; 5] = [
        spec.framework_version().map(drop),
        spec.ceiling().map(drop),
        spec.default_error_threshold().map(drop),
        spec.rollout_policy().map(drop),
        spec.limits().map(drop),
    ];
    let denials = results.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    Opinion { denials, ..Opinion::default() }
}

/// A PluginHost that is deleted: never refused.
#[must_use]
pub fn host_deletion(object: &PluginHost, plugins: usize) -> Opinion {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let warning = format!(
        "{plugins} plugins name the host '{name}': what runs goes on, and what is deleted, disabled or revoked is still \
         taken away; nothing new starts until there is one again"
    );
    Opinion { warnings: (plugins > 0).then_some(warning).into_iter().collect(), ..Opinion::default() }
}
