//! The names that the product gives to things in the Kubernetes API. Constants only.

pub const GROUP: &str = "plugins.rockstar-framework.dev";
pub const VERSION: &str = "v1alpha1";

/// The label by which a pod joins a PluginHost of its namespace.
pub const HOST_LABEL: &str = "plugins.rockstar-framework.dev/host";
/// The label of what belongs to a Plugin, such as its revisions.
pub const PLUGIN_LABEL: &str = "plugins.rockstar-framework.dev/plugin";

/// Another value of this annotation reloads the plugin everywhere.
pub const RELOAD_AT: &str = "plugins.rockstar-framework.dev/reload-at";
/// Another value of this annotation lets a failed revision be tried once more.
pub const RETRY: &str = "plugins.rockstar-framework.dev/retry";
/// Set on a pod that got its sidecar.
pub const INJECTED: &str = "plugins.rockstar-framework.dev/injected";

/// Earlier versions of the operator set it on Plugins; it is removed.
pub const UNLOAD_FINALIZER: &str = "plugins.rockstar-framework.dev/unload";

/// The audience of the token by which a sidecar says which pod it is in.
pub const TOKEN_AUDIENCE: &str = "rockstar-operator";
/// The ConfigMap with the operator's certificate authorities, in each namespace with a PluginHost.
pub const CA_CONFIG_MAP: &str = "rockstar-ca";
/// The key in it.
pub const CA_KEY: &str = "ca.crt";

/// The Lease in each namespace that an operator looks after: which one it is.
pub const OWNER_LEASE: &str = "rockstar-owner";

/// The types of the conditions of Plugin and PluginHost.
pub mod condition {
    pub const READY: &str = "Ready";
    pub const RECONCILING: &str = "Reconciling";
    pub const STALLED: &str = "Stalled";
    pub const AVAILABLE: &str = "Available";
    pub const MANIFEST_VALID: &str = "ManifestValid";
    pub const HOST_FOUND: &str = "HostFound";
    pub const DEPENDENCIES_RESOLVED: &str = "DependenciesResolved";
    pub const PERMISSIONS_GRANTED: &str = "PermissionsGranted";
    pub const ROLLED_BACK: &str = "RolledBack";
    pub const ERROR_THRESHOLD_EXCEEDED: &str = "ErrorThresholdExceeded";
    pub const SANDBOX_ENFORCED: &str = "SandboxEnforced";
    pub const BACKENDS_RESOLVED: &str = "BackendsResolved";
}
