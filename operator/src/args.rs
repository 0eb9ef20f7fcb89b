//! The operator's command line; each option is also a variable of the environment. No I/O.

use crate::{certificates::publish::WebhookNames, injector, scope::Scope};
use clap::{Args as Options, Parser, Subcommand, ValueEnum};
use rockstar_crds::policy::ContainerResources;
use std::net::SocketAddr;

/// Rolls plugins out to the pods of PluginHosts.
#[derive(Clone, Debug, Parser)]
#[command(name = "rockstar-operator", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// How logs are written, here and by the sidecars.
    #[arg(long, global = true, env = "ROCKSTAR_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Box<Args>),
    /// Remove what an operator that is uninstalled leaves behind: its claims on namespaces, and its certificates.
    Release(Release),
}

/// What an operator that is removed leaves behind.
#[derive(Clone, Debug, Options)]
pub struct Release {
    #[command(flatten)]
    pub watched: Watched,
    #[command(flatten)]
    pub own: Own,
}

/// Which operator it is.
#[derive(Clone, Debug, Options)]
pub struct Own {
    /// The namespace that the operator runs in.
    #[arg(long, env = "POD_NAMESPACE", default_value = "rockstar-system")]
    pub namespace: String,
    /// The name of its release: with the namespace it tells this operator from others.
    #[arg(long, env = "ROCKSTAR_RELEASE", default_value = "rockstar")]
    pub release: String,
    /// The Lease by which one replica leads.
    #[arg(long, env = "ROCKSTAR_LEASE", default_value = "rockstar-operator")]
    pub lease: String,
}

impl Own {
    /// As the owner of namespaces.
    #[must_use]
    pub fn holder(&self) -> String {
        format!("{}/{}", self.namespace, self.release)
    }
}

/// What is looked after.
#[derive(Clone, Debug, Options)]
pub struct Watched {
    /// The namespaces to look after; none means all.
    #[arg(long = "watch-namespace", env = "ROCKSTAR_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
}

/// How the operator runs.
#[derive(Clone, Debug, Options)]
pub struct Args {
    #[command(flatten)]
    pub own: Own,
    /// The name of this replica's pod.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: String,
    /// The address of this replica's pod, where sidecars reach it when it leads.
    #[arg(long, env = "POD_IP")]
    pub pod_ip: String,
    #[command(flatten)]
    pub watched: Watched,
    /// The Service of the operator.
    #[arg(long, env = "ROCKSTAR_SERVICE", default_value = "rockstar-operator")]
    pub service: String,
    /// The MutatingWebhookConfiguration that gets the certificate authority.
    #[arg(long, env = "ROCKSTAR_MUTATING_WEBHOOK", default_value = "rockstar-operator")]
    pub mutating_webhook: String,
    /// The ValidatingWebhookConfiguration that gets the certificate authority.
    #[arg(long, env = "ROCKSTAR_VALIDATING_WEBHOOK", default_value = "rockstar-operator")]
    pub validating_webhook: String,
    /// Where sidecars connect (gRPC over TLS).
    #[arg(long, env = "ROCKSTAR_CONTROL_ADDRESS", default_value = "0.0.0.0:9443")]
    pub control_address: SocketAddr,
    /// Where the API server asks the webhooks (HTTPS).
    #[arg(long, env = "ROCKSTAR_WEBHOOK_ADDRESS", default_value = "0.0.0.0:8443")]
    pub webhook_address: SocketAddr,
    /// Where metrics and health are (HTTP).
    #[arg(long, env = "ROCKSTAR_ADMIN_ADDRESS", default_value = "0.0.0.0:8080")]
    pub admin_address: SocketAddr,
    /// The image of the sidecars.
    #[arg(long, env = "ROCKSTAR_SIDECAR_IMAGE")]
    pub sidecar_image: String,
    /// Always, IfNotPresent or Never; left out: the cluster's default.
    #[arg(long, env = "ROCKSTAR_SIDECAR_IMAGE_PULL_POLICY", default_value = "")]
    pub sidecar_image_pull_policy: String,
    /// What a sidecar asks for and may use, as JSON: {"requests": {"cpu": "50m"}, "limits": {"memory": "512Mi"}}.
    #[arg(long, env = "ROCKSTAR_SIDECAR_RESOURCES", default_value = "{}", value_parser = resources)]
    pub sidecar_resources: ContainerResources,
    /// Registries that sidecars talk to without TLS, HOST[:PORT].
    #[arg(long = "insecure-registry", env = "ROCKSTAR_INSECURE_REGISTRIES", value_delimiter = ',')]
    pub insecure_registries: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

impl LogFormat {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

impl Watched {
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope::of(&self.watch_namespaces)
    }
}

impl Args {
    #[must_use]
    pub fn webhooks(&self) -> WebhookNames {
        WebhookNames { mutating: self.mutating_webhook.clone(), validating: self.validating_webhook.clone() }
    }

    /// Where the other replicas send sidecars when this one leads.
    #[must_use]
    pub fn own_address(&self) -> String {
        let port = self.control_address.port();
        if self.pod_ip.contains(':') { format!("[{}]:{port}", self.pod_ip) } else { format!("{}:{port}", self.pod_ip) }
    }

    #[must_use]
    pub fn injector(&self, log_format: LogFormat) -> injector::Settings {
        let port = self.control_address.port();
        let registries = self.insecure_registries.iter().filter(|registry| !registry.is_empty());
        injector::Settings {
            image: self.sidecar_image.clone(),
            image_pull_policy: self.sidecar_image_pull_policy.clone(),
            resources: self.sidecar_resources.clone(),
            control_url: format!("https://{}.{}.svc:{port}", self.service, self.own.namespace),
            insecure_registries: registries.cloned().collect(),
            log_format: log_format.name().into(),
        }
    }
}

fn resources(text: &str) -> Result<ContainerResources, serde_json::Error> {
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(more: &[&str]) -> Args {
        let given = ["rockstar-operator", "run", "--pod-name=a", "--sidecar-image=sidecar:1"];
        let ip = if more.iter().any(|arg| arg.starts_with("--pod-ip")) { None } else { Some("--pod-ip=10.0.0.7") };
        match Cli::try_parse_from(given.iter().chain(&ip).chain(more)).unwrap().command {
            Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_follows_from_the_options() {
        let plain = args(&[]);
        assert_eq!(plain.own_address(), "10.0.0.7:9443");
        assert_eq!(plain.injector(LogFormat::Json).control_url, "https://rockstar-operator.rockstar-system.svc:9443");
        assert_eq!(plain.watched.scope(), Scope::Cluster);
        assert_eq!(args(&["--pod-ip=fd00::7", "--control-address=[::]:1"]).own_address(), "[fd00::7]:1");
        assert_eq!(args(&["--watch-namespace=shop,crm"]).watched.scope(), Scope::of(&["crm".into(), "shop".into()]));
        assert_eq!(args(&["--watch-namespace="]).watched.scope(), Scope::Cluster);
        let resources = args(&[r#"--sidecar-resources={"limits": {"memory": "1Gi"}}"#]).sidecar_resources;
        assert_eq!(resources.limits.len(), 1);
    }
}
