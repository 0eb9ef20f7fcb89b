//! The seven permissions, and which of them a plugin effectively has. Pure.

use crate::manifest::Manifest;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// What a plugin may be allowed to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    Database,
    Cache,
    Router,
    Config,
    Filesystem,
    Network,
    Exec,
}

/// A set of permissions in a fixed order.
pub type Permissions = BTreeSet<Permission>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermissionError {
    #[error("permission denied: plugin '{plugin}' attempted {permission} access without permission")]
    Denied { plugin: String, permission: Permission },
    #[error("permission mismatch: plugin requests '{0}' permission but manifest does not declare it")]
    NotDeclared(Permission),
    #[error("unknown permission: {0}")]
    Unknown(String),
}

impl Permission {
    /// All of them, in the order of the reference.
    pub const ALL: [Self; 7] =
        [Self::Database, Self::Cache, Self::Router, Self::Config, Self::Filesystem, Self::Network, Self::Exec];

    /// The name in manifests, configuration and texts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Cache => "cache",
            Self::Router => "router",
            Self::Config => "config",
            Self::Filesystem => "filesystem",
            Self::Network => "network",
            Self::Exec => "exec",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Permission {
    type Err = PermissionError;

    fn from_str(name: &str) -> Result<Self, PermissionError> {
        let known = Self::ALL.into_iter().find(|permission| permission.name() == name);
        known.ok_or_else(|| PermissionError::Unknown(name.to_owned()))
    }
}

/// All seven: the ceiling where none is set.
#[must_use]
pub fn all() -> Permissions {
    Permission::ALL.into()
}

/// What a plugin may use: declared by the manifest, granted by the revision, still granted by the live spec, and
/// under the host's ceiling.
#[must_use]
pub fn effective(
    declared: &Permissions,
    granted: &Permissions,
    live: &Permissions,
    ceiling: &Permissions,
) -> Permissions {
    let in_all = |p: &Permission| granted.contains(p) && live.contains(p) && ceiling.contains(p);
    declared.iter().copied().filter(in_all).collect()
}

/// Refuses a grant that the manifest does not declare.
pub fn check_declared(manifest: &Manifest, granted: &Permissions) -> Result<(), PermissionError> {
    granted.difference(&manifest.permissions).next().map_or(Ok(()), |p| Err(PermissionError::NotDeclared(*p)))
}

/// Refuses a use that was not granted.
pub fn check_use(plugin: &str, effective: &Permissions, permission: Permission) -> Result<(), PermissionError> {
    if effective.contains(&permission) {
        return Ok(());
    }
    Err(PermissionError::Denied { plugin: plugin.to_owned(), permission })
}

/// As the reference writes them: `{database: true, exec: false}`.
pub(crate) mod switches {
    use super::{Permission, Permissions};
    use serde::{Deserialize, Deserializer, Serializer};
    use std::collections::BTreeMap;

    pub(crate) fn serialize<S: Serializer>(permissions: &Permissions, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(permissions.iter().map(|permission| (permission, true)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Permissions, D::Error> {
        let switches = BTreeMap::<Permission, bool>::deserialize(d)?;
        Ok(switches.into_iter().filter_map(|(permission, on)| on.then_some(permission)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prelude::*, sample::subsequence};

    fn some() -> impl Strategy<Value = Permissions> {
        subsequence(Permission::ALL.to_vec(), 0..=7).prop_map(|list| list.into_iter().collect())
    }

    #[test]
    fn names() {
        for permission in Permission::ALL {
            assert_eq!(permission.name().parse(), Ok(permission));
            assert_eq!(serde_json::to_value(permission).unwrap(), permission.name());
        }
        let error = "custom_permission".parse::<Permission>().unwrap_err();
        assert_eq!(error.to_string(), "unknown permission: custom_permission");
    }

    #[test]
    fn a_use_without_grant_is_denied() {
        let granted = [Permission::Cache].into();
        assert_eq!(check_use("logging-plugin", &granted, Permission::Cache), Ok(()));
        for permission in [Permission::Database, Permission::Router, Permission::Config] {
            let error = check_use("logging-plugin", &granted, permission).unwrap_err();
            let text =
                format!("permission denied: plugin 'logging-plugin' attempted {permission} access without permission");
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn a_grant_must_be_declared() {
        let mut manifest = crate::manifest::tests::minimal();
        manifest.permissions = [Permission::Cache].into();
        assert_eq!(check_declared(&manifest, &[Permission::Cache].into()), Ok(()));
        let error = check_declared(&manifest, &[Permission::Cache, Permission::Database].into()).unwrap_err();
        let text = "permission mismatch: plugin requests 'database' permission but manifest does not declare it";
        assert_eq!(error.to_string(), text);
    }

    proptest! {
        #[test]
        fn nothing_is_effective_that_one_side_withholds(a in some(), b in some(), c in some(), d in some()) {
            let effective = effective(&a, &b, &c, &d);
            for permission in Permission::ALL {
                let everywhere = [&a, &b, &c, &d].iter().all(|set| set.contains(&permission));
                prop_assert_eq!(effective.contains(&permission), everywhere);
            }
        }
    }
}
