//! What a Plugin says, for `rockstar-core`. Pure.

use super::{
    FieldError,
    amount::positive,
    at,
    policy::{alerting_like, crash_budget, error_threshold, reload},
};
use crate::{
    host::PluginHostSpec,
    plugin::{OciSource, PluginSpec},
    quantity,
};
use rockstar_core::{
    assignment::{ErrorThreshold, FailurePolicy, Policies},
    manifest::{self, Parsed},
    permission::Permissions,
    revision::{Body, Resources, Source},
};
use std::collections::BTreeMap;

/// Variables that the sidecar sets itself.
const RESERVED: &str = "ROCKSTAR_";

impl PluginSpec {
    /// The manifest with its warnings.
    pub fn parse_manifest(&self) -> Result<Parsed, FieldError> {
        manifest::from_value(&self.manifest).map_err(|error| {
            let dot = if error.field.is_empty() { "" } else { "." };
            FieldError::new(format!("spec.manifest{dot}{}", error.field), error)
        })
    }

    /// The permissions that are given.
    pub fn granted(&self) -> Result<Permissions, FieldError> {
        let given = self.permissions.iter().filter(|(_, given)| **given);
        given.map(|(name, _)| name.parse().map_err(at("spec.permissions"))).collect()
    }

    /// What a sidecar needs to run this version.
    pub fn body(&self) -> Result<Body, FieldError> {
        Ok(Body {
            manifest: self.parse_manifest()?.manifest,
            source: self.source()?,
            permissions: self.granted()?,
            env: self.environment()?,
            resources: self.limits()?,
        })
    }

    /// What applies to the running plugin.
    pub fn policies(&self, host: &PluginHostSpec) -> Result<Policies, FieldError> {
        let default = Policies::default();
        Ok(Policies {
            priority: self.priority,
            failure_policy: self.failure_policy(),
            hook_timeout: positive("spec.hookTimeout", self.hook_timeout.as_ref(), default.hook_timeout)?,
            stop_timeout: positive("spec.stopTimeout", self.stop_timeout.as_ref(), default.stop_timeout)?,
            reload: reload("spec.reload", self.reload.as_ref())?,
            error_threshold: self.error_threshold(host)?,
            crash_budget: crash_budget("spec.crashBudget", self.crash_budget.as_ref())?,
        })
    }

    #[must_use]
    pub fn failure_policy(&self) -> FailurePolicy {
        self.failure_policy.unwrap_or(Policies::default().failure_policy)
    }

    fn error_threshold(&self, host: &PluginHostSpec) -> Result<Option<ErrorThreshold>, FieldError> {
        let Some(own) = &self.error_threshold else { return host.default_error_threshold() };
        let own = error_threshold("spec.errorThreshold", Some(own))?;
        let default = host.default_error_threshold().ok().flatten();
        Ok(own.map(|own| alerting_like(own, default)))
    }

    /// The Secret for the registry.
    #[must_use]
    pub fn pull_secret(&self) -> Option<&str> {
        self.source.oci.as_ref().and_then(|oci| oci.pull_secret.as_deref())
    }

    fn source(&self) -> Result<Source, FieldError> {
        match (&self.source.oci, &self.source.http, &self.source.path) {
            (Some(oci), None, None) => oci_source(oci),
            (None, Some(http), None) => {
                let sha256 = hex64("spec.source.http.sha256", &http.sha256)?;
                Ok(Source::Http { url: http.url.clone(), sha256: sha256.into() })
            }
            (None, None, Some(path)) => Ok(Source::Path { path: path.clone() }),
            _ => Err(FieldError::new("spec.source", "exactly one of oci, http and path must be given")),
        }
    }

    fn environment(&self) -> Result<BTreeMap<String, String>, FieldError> {
        self.env.keys().try_for_each(|name| variable(name))?;
        Ok(self.env.clone())
    }

    fn limits(&self) -> Result<Resources, FieldError> {
        let Some(memory) = self.resources.as_ref().and_then(|resources| resources.memory.as_ref()) else {
            return Ok(Resources::default());
        };
        let bytes = quantity::bytes(memory);
        let memory =
            bytes.ok_or_else(|| FieldError::new("spec.resources.memory", "must be an amount of memory like 100Mi"))?;
        Ok(Resources { memory })
    }
}

fn oci_source(oci: &OciSource) -> Result<Source, FieldError> {
    const DIGEST: &str = "spec.source.oci.digest";
    let digits =
        oci.digest.strip_prefix("sha256:").ok_or_else(|| FieldError::new(DIGEST, "must begin with sha256:"))?;
    hex64(DIGEST, digits)?;
    if oci.image.contains('@') {
        return Err(FieldError::new("spec.source.oci.image", "must have no digest: put it into the field digest"));
    }
    Ok(Source::Oci { image: oci.image.clone(), digest: oci.digest.clone() })
}

fn hex64<'a>(path: &str, digits: &'a str) -> Result<&'a str, FieldError> {
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if digits.len() == 64 && digits.bytes().all(hex) {
        return Ok(digits);
    }
    Err(FieldError::new(path, "must have 64 hexadecimal digits in lower case"))
}

fn variable(name: &str) -> Result<(), FieldError> {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = name.chars().all(letters) && name.starts_with(|c: char| !c.is_ascii_digit());
    if !is_name {
        return Err(FieldError::new("spec.env", format!("'{name}' is no name of an environment variable")));
    }
    if name.starts_with(RESERVED) {
        return Err(FieldError::new(
            "spec.env",
            format!("'{name}' is reserved: names with {RESERVED} are the sidecar's"),
        ));
    }
    Ok(())
}
