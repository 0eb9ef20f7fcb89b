//! Which operator a namespace belongs to: each namespace that is looked after has a Lease, held by NAMESPACE/RELEASE of the
//! one that acts there. A namespace of another one is left alone. I/O: the API server.

use super::{
    decide::{Decision, Observed, decide},
    record::Candidate,
};
use crate::{
    api::{CallError, call, found},
    leadership::Leadership,
    namespaces::{Namespaces, Owner},
    scope::Scope,
};
use futures::{StreamExt, stream};
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use rockstar_core::text::bounded;
use rockstar_crds::names::OWNER_LEASE;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// Another operator may take a namespace whose Lease did not change for so long.
const DURATION: Duration = Duration::from_secs(60);
/// Our own claim ends so long after the start of the last write that renewed it.
const CLAIM: Duration = Duration::from_secs(45);
const RENEWAL_INTERVAL: Duration = Duration::from_secs(15);
/// New namespaces are found so soon.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
const AT_ONCE: usize = 8;
/// The longest note of an event, in bytes.
const MAX_NOTE: usize = 1024;

/// Who claims, and what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// NAMESPACE/RELEASE.
    pub holder: String,
    pub scope: Scope,
    /// The namespace of the operator, where it tells that one belongs to another, about this Lease.
    pub own_namespace: String,
    pub own_lease: String,
    /// This replica, as events name it.
    pub instance: String,
}

/// Looks after the claims of all namespaces. The replica that leads takes and renews them; others only look. Never ends.
pub async fn run(
    client: Client,
    settings: Settings,
    namespaces: Namespaces,
    with_hosts: impl Fn() -> BTreeSet<String>,
    leadership: watch::Receiver<Leadership>,
) {
    let mut claims = Claims::new(client, settings, namespaces);
    loop {
        let is_leading = leadership.borrow().is_leading();
        let wanted = match &claims.settings.scope {
            Scope::Namespaces(listed) => listed.clone(),
            Scope::Cluster => with_hosts(),
        };
        claims.look(wanted, is_leading).await;
        sleep(LOOK_INTERVAL).await;
    }
}

pub(super) struct Claims {
    client: Client,
    settings: Settings,
    namespaces: Namespaces,
    was_leading: bool,
    seen: BTreeMap<String, Seen>,
}

/// What is known of one namespace's Lease.
#[derive(Clone)]
struct Seen {
    observed: Observed,
    looked: Option<Instant>,
}

impl Claims {
    pub(super) const fn new(client: Client, settings: Settings, namespaces: Namespaces) -> Self {
        Self { client, settings, namespaces, was_leading: false, seen: BTreeMap::new() }
    }

    /// Looks at those namespaces that are due: new ones, those not looked at for a while, all when this replica begins to
    /// lead.
    pub(super) async fn look(&mut self, wanted: BTreeSet<String>, is_leading: bool) {
        let begins = is_leading && !self.was_leading;
        self.was_leading = is_leading;
        self.seen.retain(|namespace, _| wanted.contains(namespace));
        self.namespaces.retain_owners(&wanted);
        let now = Instant::now();
        let is_due = |seen: Option<&Seen>| {
            let looked = seen.and_then(|seen| seen.looked);
            begins || looked.is_none_or(|at| now.duration_since(at) >= RENEWAL_INTERVAL)
        };
        let due: Vec<_> = wanted.into_iter().filter(|namespace| is_due(self.seen.get(namespace))).collect();
        let looks = due.into_iter().map(|namespace| {
            let fresh = Seen { observed: Observed::nothing(now), looked: None };
            let seen = self.seen.get(&namespace).cloned().unwrap_or(fresh);
            async {
                let (seen, owner) = self.claim(&namespace, seen, is_leading).await;
                (namespace, seen, owner)
            }
        });
        let results: Vec<_> = stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
        for (namespace, seen, owner) in results {
            self.seen.insert(namespace.clone(), seen);
            if let Some(owner) = owner {
                self.note(&namespace, owner).await;
            }
        }
    }

    /// None: it is not known whose it is; what was known holds as long as the claim does.
    async fn claim(&self, namespace: &str, mut seen: Seen, is_leading: bool) -> (Seen, Option<Owner>) {
        let owner = match self.step(namespace, &mut seen.observed, is_leading).await {
            Ok(owner) => {
                seen.looked = Some(Instant::now());
                Some(owner)
            }
            // Somebody wrote it meanwhile: looked at again soon.
            Err(error) if error.is_conflict() => None,
            Err(error) => {
                seen.looked = Some(Instant::now());
                tracing::debug!(%error, namespace, "a namespace cannot be claimed");
                None
            }
        };
        (seen, owner)
    }

    async fn step(&self, namespace: &str, observed: &mut Observed, is_leading: bool) -> Result<Owner, CallError> {
        let api = Api::<Lease>::namespaced(self.client.clone(), namespace);
        let what = format!("read lease {namespace}/{OWNER_LEASE}");
        let read = found(call(what, api.get(OWNER_LEASE)).await)?;
        let started = Instant::now();
        observed.update(read, started);
        let candidate =
            Candidate { identity: self.settings.holder.clone(), address: String::new(), duration: DURATION };
        let lease = match (decide(observed, &candidate.identity, started), observed.lease()) {
            (Decision::Wait, lease) => {
                return Ok(Owner::Other(lease.and_then(super::record::holder).unwrap_or_default().to_owned()));
            }
            (Decision::Take | Decision::Renew, _) if !is_leading => return Ok(Owner::Nobody),
            (Decision::Renew, Some(lease)) => candidate.renewed(lease),
            (Decision::Take | Decision::Renew, lease) => candidate.taken(lease, OWNER_LEASE),
        };
        let (what, parameters) = (format!("write lease {namespace}/{OWNER_LEASE}"), PostParams::default());
        let written = if lease.metadata.resource_version.is_some() {
            call(what, api.replace(OWNER_LEASE, &parameters, &lease)).await?
        } else {
            call(what, api.create(&parameters, &lease)).await?
        };
        observed.update(Some(written), Instant::now());
        Ok(Owner::Us { until: started + CLAIM })
    }

    async fn note(&self, namespace: &str, owner: Owner) {
        let holder = match &owner {
            Owner::Other(holder) => Some(holder.clone()),
            Owner::Us { .. } | Owner::Nobody => None,
        };
        let is_news = self.namespaces.set_owner(namespace, owner);
        let Some(holder) = holder.filter(|_| is_news) else { return };
        tracing::warn!(namespace, "NamespaceOwned by {holder}: the namespace is left alone");
        let event = self.event(format!("NamespaceOwned by {holder}: namespace {namespace} is left alone"));
        let api = Api::<Event>::namespaced(self.client.clone(), &self.settings.own_namespace);
        if let Err(error) = call("create an event", api.create(&PostParams::default(), &event)).await {
            tracing::warn!(%error, "an event was lost");
        }
    }

    fn event(&self, note: String) -> Event {
        let settings = &self.settings;
        let regarding = ObjectReference {
            api_version: Some("coordination.k8s.io/v1".into()),
            kind: Some("Lease".into()),
            name: Some(settings.own_lease.clone()),
            namespace: Some(settings.own_namespace.clone()),
            ..ObjectReference::default()
        };
        Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", settings.own_lease)),
                namespace: Some(settings.own_namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some("NamespaceOwned".into()),
            event_time: Some(MicroTime(Timestamp::now())),
            note: Some(bounded(&note, MAX_NOTE)),
            reason: Some("NamespaceOwned".into()),
            regarding: Some(regarding),
            reporting_controller: Some("rockstar-operator".into()),
            reporting_instance: Some(settings.instance.clone()),
            type_: Some("Warning".into()),
            ..Event::default()
        }
    }
}
