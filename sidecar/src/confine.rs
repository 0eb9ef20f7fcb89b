//! How plugins are confined in this sidecar: what the kernel enforces, whether that must be all, and which volumes the
//! permission `filesystem` is for. Memory only; the process enters the sandbox itself.

use crate::{
    artifact::Artifact,
    failure::{Failure, Step},
    process::sandbox::{Confinement, Parts, Volume},
};
use arc_swap::ArcSwap;
use rockstar_core::{
    permission::{Permission, Permissions},
    sandbox::Sandbox,
};

/// See the module.
#[derive(Debug)]
pub struct Confiner {
    parts: Parts,
    volumes: Vec<Volume>,
    asked: ArcSwap<Sandbox>,
}

impl Confiner {
    /// Says in the log what the kernel does not enforce.
    #[must_use]
    pub fn new(parts: Parts, volumes: Vec<Volume>) -> Self {
        for lacking in parts.missing() {
            tracing::warn!("The sandbox of plugins is not complete on this kernel: {lacking}");
        }
        Self { parts, volumes, asked: ArcSwap::default() }
    }

    /// For processes that start from now on.
    pub fn ask(&self, asked: Sandbox) {
        self.asked.store(asked.into());
    }

    #[must_use]
    pub fn asked(&self) -> Sandbox {
        **self.asked.load()
    }

    #[must_use]
    pub const fn parts(&self) -> &Parts {
        &self.parts
    }

    /// What a process with these permissions is confined to.
    pub fn confine(
        &self,
        plugin: &str,
        artifact: &Artifact,
        permissions: &Permissions,
    ) -> Result<Confinement, Failure> {
        let missing = self.parts.missing();
        if self.asked() == Sandbox::Required && !missing.is_empty() {
            let text = format!(
                "the sandbox is Required, but this kernel cannot enforce it: {}; run on another kernel, or set sandbox: \
                 BestEffort",
                missing.join("; ")
            );
            return Err(Failure::environment(Step::Load, "SandboxUnavailable", text));
        }
        let has = |permission| permissions.contains(&permission);
        if has(Permission::Filesystem) && self.volumes.is_empty() {
            tracing::warn!(
                plugin,
                "Plugin {plugin} has the permission 'filesystem', but this sidecar has no volumes for it: name them with \
                 --volume DIR"
            );
        }
        Ok(Confinement {
            parts: self.parts,
            artifact: artifact.directory.clone(),
            filesystem: has(Permission::Filesystem),
            volumes: if has(Permission::Filesystem) { self.volumes.clone() } else { Vec::new() },
            network: has(Permission::Network),
            exec: has(Permission::Exec),
        })
    }
}

/// The permissions that a process is confined by from its start: another process is needed for others.
#[must_use]
pub fn kernel_permissions(permissions: &Permissions) -> Permissions {
    let enforced = [Permission::Filesystem, Permission::Network, Permission::Exec];
    enforced.into_iter().filter(|permission| permissions.contains(permission)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Parts = Parts { landlock: 7, filter: true, notifications: true, memory: true };

    fn artifact() -> Artifact {
        Artifact { id: "a".into(), directory: "/a".into(), program: None }
    }

    fn volumes() -> Vec<Volume> {
        vec!["/srv".parse().unwrap()]
    }

    #[test]
    fn each_permission_opens_its_part() {
        let confiner = Confiner::new(WHOLE, volumes());
        let confined = |permissions: &[Permission]| {
            let permissions = permissions.iter().copied().collect();
            let confinement = confiner.confine("p", &artifact(), &permissions).unwrap();
            (confinement.volumes.len(), confinement.network, confinement.exec)
        };
        assert_eq!(confined(&[]), (0, false, false));
        assert_eq!(confined(&[Permission::Filesystem]), (1, false, false));
        assert_eq!(confined(&[Permission::Network, Permission::Cache]), (0, true, false));
        assert_eq!(confined(&[Permission::Exec]), (0, false, true));
    }

    #[test]
    fn required_refuses_where_a_part_is_missing_and_best_effort_does_not() {
        let confiner = Confiner::new(Parts { landlock: 0, ..WHOLE }, vec![]);
        assert!(confiner.confine("p", &artifact(), &Permissions::new()).is_ok());
        confiner.ask(Sandbox::Required);
        let failure = confiner.confine("p", &artifact(), &Permissions::new()).unwrap_err();
        assert_eq!((failure.class, failure.reason), (crate::failure::Class::Environment, "SandboxUnavailable"));
        assert_eq!(
            failure.message,
            "the sandbox is Required, but this kernel cannot enforce it: files and programs are not confined (the kernel \
             has no Landlock, or it is not enabled); run on another kernel, or set sandbox: BestEffort"
        );
    }
}
