//! All attached instances by host, with what each last said. Written by streams, read by the hosts' loops. No I/O.

use super::{identity::Identity, mailbox::Mailbox, publication::Publication};
use crate::host::{Bells, HostKey};
use parking_lot::Mutex;
use rockstar_core::text::{MAX_FAILURE, bounded};
use rockstar_proto::control::{FailureRecord, Hello, Report, Withdraw};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Failure records that one instance may have waiting; older ones come again with its next Hello.
const MAX_FAILURES: usize = 256;

/// What is known of an attached instance.
#[derive(Clone, Debug)]
pub struct Attached {
    pub pod: String,
    pub uid: String,
    pub sidecar_version: String,
    pub capabilities: Vec<String>,
    pub report: Arc<Report>,
    /// Not acknowledged yet, by id.
    pub failures: Arc<BTreeMap<String, FailureRecord>>,
    /// The publication that was handed to this stream last.
    pub told: Option<Arc<Publication>>,
}

#[derive(Debug)]
struct Entry {
    stream: u64,
    attached: Attached,
    mailbox: Arc<Mailbox>,
}

type Entries = HashMap<String, Entry>;

/// The register of streams.
#[derive(Debug)]
pub struct Hub {
    hosts: Mutex<HashMap<HostKey, Entries>>,
    bells: Bells,
    streams: AtomicU64,
}

/// One stream's hold on its entry; dropping it detaches the instance.
#[derive(Debug)]
pub struct Session {
    hub: Arc<Hub>,
    host: HostKey,
    uid: String,
    stream: u64,
    #[doc(hidden)]
    pub mailbox: Arc<Mailbox>,
}

impl Hub {
    #[must_use]
    pub fn new(bells: Bells) -> Arc<Self> {
        Arc::new(Self { hosts: Mutex::default(), bells, streams: AtomicU64::new(0) })
    }

    /// A stream of this pod begins; an older one of the same pod ends.
    pub fn attach(self: &Arc<Self>, host: HostKey, pod: Identity, hello: Hello) -> Session {
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let mailbox = Arc::new(Mailbox::default());
        let uid = pod.uid.clone();
        let entry = Entry { stream, attached: attached(pod, hello), mailbox: Arc::clone(&mailbox) };
        let older = self.hosts.lock().entry(host.clone()).or_default().insert(uid.clone(), entry);
        if let Some(older) = older {
            older.mailbox.close("");
        }
        self.bells.ring(&host);
        Session { hub: Arc::clone(self), host, uid, stream, mailbox }
    }

    /// The attached instances of a host, by the names of their pods.
    #[must_use]
    pub fn attached(&self, host: &HostKey) -> Vec<Attached> {
        let hosts = self.hosts.lock();
        let entries = hosts.get(host).into_iter().flat_map(HashMap::values);
        let mut attached: Vec<_> = entries.map(|entry| entry.attached.clone()).collect();
        drop(hosts);
        attached.sort_by(|a, b| (&a.pod, &a.uid).cmp(&(&b.pod, &b.uid)));
        attached
    }

    /// How many streams there are.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.hosts.lock().values().map(HashMap::len).sum()
    }

    /// Tells an instance what to run. Nothing happens if it is not attached.
    pub fn publish(&self, host: &HostKey, uid: &str, publication: &Arc<Publication>) {
        self.with(host, uid, |entry| {
            entry.attached.told = Some(Arc::clone(publication));
            entry.mailbox.publish(publication);
        });
    }

    /// Forgets failure records that are kept elsewhere now, and lets the instance forget them.
    pub fn acknowledge(&self, host: &HostKey, uid: &str, ids: &[String]) {
        self.with(host, uid, |entry| {
            let mut failures = BTreeMap::clone(&entry.attached.failures);
            failures.retain(|id, _| !ids.contains(id));
            entry.attached.failures = Arc::new(failures);
            entry.mailbox.acknowledge(ids.iter().cloned());
        });
    }

    /// Tells an instance whether to stay ready in spite of a failing plugin.
    pub fn keep_ready(&self, host: &HostKey, uid: &str, keep: bool) {
        self.with(host, uid, |entry| entry.mailbox.keep_ready(keep));
    }

    /// Takes away, before anything else that waits.
    pub fn withdraw(&self, host: &HostKey, uid: &str, withdrawal: Withdraw) {
        self.with(host, uid, |entry| entry.mailbox.withdraw(withdrawal));
    }

    /// Ends one stream; the instance comes back to where it belongs.
    pub fn close(&self, host: &HostKey, uid: &str) {
        self.with(host, uid, |entry| entry.mailbox.close(""));
    }

    /// Ends every stream of a host.
    pub fn close_host(&self, host: &HostKey) {
        let entries = self.hosts.lock().remove(host).unwrap_or_default();
        entries.values().for_each(|e| e.mailbox.close(""));
    }

    /// Ends every stream: another replica holds the lease.
    pub fn close_all(&self, address: &str) {
        let hosts = std::mem::take(&mut *self.hosts.lock());
        hosts.values().flat_map(HashMap::values).for_each(|e| e.mailbox.close(address));
    }

    fn with<T>(&self, host: &HostKey, uid: &str, act: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.hosts.lock().get_mut(host)?.get_mut(uid).map(act)
    }
}

fn attached(pod: Identity, hello: Hello) -> Attached {
    let mut report = hello.report.unwrap_or_default();
    if report.revisions.is_empty() {
        report.revisions = hello.revisions;
    }
    let failures = hello.failures.into_iter().take(MAX_FAILURES).map(bounded_record);
    Attached {
        pod: pod.pod,
        uid: pod.uid,
        sidecar_version: hello.sidecar_version,
        capabilities: hello.capabilities,
        report: Arc::new(bounded_report(report)),
        failures: Arc::new(failures.map(|f| (f.id.clone(), f)).collect()),
        told: None,
    }
}

/// Sidecars bound their texts; an older one may not.
fn bounded_report(mut report: Report) -> Report {
    for plugin in &mut report.plugins {
        bound(&mut plugin.last_error);
        bound(&mut plugin.reason);
        bound(&mut plugin.threshold_exceeded);
    }
    report
}

fn bounded_record(mut record: FailureRecord) -> FailureRecord {
    bound(&mut record.message);
    bound(&mut record.reason);
    record
}

fn bound(text: &mut String) {
    if text.len() > MAX_FAILURE || text.contains(char::is_control) {
        *text = bounded(text, MAX_FAILURE);
    }
}

impl Session {
    /// The instance's whole state. Only a changed one wakes the host.
    pub fn report(&self, report: Report) {
        let report = bounded_report(report);
        let changed = self.own(|entry| {
            let changed = *entry.attached.report != report;
            entry.attached.report = Arc::new(report);
            changed
        });
        if changed == Some(true) {
            self.hub.bells.ring(&self.host);
        }
    }

    /// Something failed there.
    pub fn failure(&self, record: FailureRecord) {
        let record = bounded_record(record);
        self.own(|entry| {
            if entry.attached.failures.len() < MAX_FAILURES {
                Arc::make_mut(&mut entry.attached.failures).insert(record.id.clone(), record);
            }
        });
        self.hub.bells.ring(&self.host);
    }

    fn own<T>(&self, act: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.hub.with(&self.host, &self.uid, |entry| (entry.stream == self.stream).then(|| act(entry))).flatten()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut hosts = self.hub.hosts.lock();
        let Some(entries) = hosts.get_mut(&self.host) else { return };
        if entries.get(&self.uid).is_some_and(|e| e.stream == self.stream) {
            entries.remove(&self.uid);
        }
        if entries.is_empty() {
            hosts.remove(&self.host);
        }
        drop(hosts);
        self.hub.bells.ring(&self.host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::mailbox::Letter;
    use rockstar_proto::control::PluginState;

    fn pod(uid: &str) -> Identity {
        Identity { namespace: "shop".into(), pod: format!("pod-{uid}"), uid: uid.into() }
    }

    #[tokio::test]
    async fn a_new_stream_of_a_pod_replaces_the_old_one() {
        let hub = Hub::new(Bells::default());
        let host = HostKey::new("shop", "storefront");
        let old = hub.attach(host.clone(), pod("1"), Hello::default());
        let new = hub.attach(host.clone(), pod("1"), Hello::default());
        assert!(matches!(old.mailbox.next().await, Letter::Moved(_)));
        old.report(Report { plan_generation: 9, ..Report::default() });
        drop(old);
        assert_eq!(hub.attached(&host)[0].report.plan_generation, 0, "an old stream cannot speak any more");
        drop(new);
        assert!(hub.attached(&host).is_empty());
    }

    #[test]
    fn an_acknowledged_failure_is_gone() {
        let hub = Hub::new(Bells::default());
        let host = HostKey::new("shop", "storefront");
        let session = hub.attach(host.clone(), pod("1"), Hello::default());
        session.failure(FailureRecord { id: "f".into(), ..FailureRecord::default() });
        assert_eq!(hub.attached(&host)[0].failures.len(), 1);
        hub.acknowledge(&host, "1", &["f".to_owned()]);
        assert!(hub.attached(&host)[0].failures.is_empty());
    }

    #[test]
    fn texts_are_bounded_where_they_come_in() {
        let hub = Hub::new(Bells::default());
        let host = HostKey::new("shop", "storefront");
        let long = || format!("\u{7}{}", "x".repeat(1 << 20));
        let record = |id: &str| FailureRecord { id: id.into(), message: long(), ..FailureRecord::default() };
        let state = || PluginState { last_error: long(), ..PluginState::default() };
        let report = || Report { plugins: vec![state()], ..Report::default() };
        let hello = Hello { failures: vec![record("a")], report: Some(report()), ..Hello::default() };
        let session = hub.attach(host.clone(), pod("1"), hello);
        let check = || {
            let attached = &hub.attached(&host)[0];
            let errors = attached.report.plugins.iter().map(|p| &p.last_error);
            for text in attached.failures.values().map(|f| &f.message).chain(errors) {
                assert!(text.len() <= MAX_FAILURE && text.starts_with("\\u{7}x"), "{}", text.len());
            }
            attached.failures.len()
        };
        assert_eq!(check(), 1);
        session.report(report());
        session.failure(record("b"));
        assert_eq!(check(), 2);
    }
}
