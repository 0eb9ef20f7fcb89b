//! A pod: its sidecar, what its kubelet shows of it, and its stream to the operator.

use crate::{api::ApiPod, operator::Replica, random::Random, sidecar::Sidecar, simulation::is_traced};
use futures::FutureExt;
use rockstar_core::{revision::RevisionId, termination::Termination};
use rockstar_operator::{
    control::{Identity, hub::Session, mailbox::Carried},
    host::HostKey,
    world::PodPhase,
};
use rockstar_proto::control::{Assignment, Report, ToInstance, to_instance::Message};
use rockstar_sidecar::slot::Status;
use std::{collections::BTreeSet, mem};

/// A kubelet shows another readiness after so long.
const PROBE: i64 = 2_000;
const LAST_BACKOFF: i64 = 10_000;

/// An open stream.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) host: String,
    pub(crate) replica: usize,
    session: Session,
    carried: Carried,
    told: BTreeSet<String>,
    last: Report,
    /// The sidecar's version that was looked at last.
    seen: u64,
}

#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) sidecar: Sidecar,
    pub(crate) phase: PodPhase,
    /// True time.
    pub(crate) created: i64,
    created_at: i64,
    /// It ends by itself, in success.
    pub(crate) ends_at: Option<i64>,
    pub(crate) gone_at: Option<i64>,
    pub(crate) shown_ready: bool,
    shown_since: i64,
    probe_at: Option<i64>,
    pub(crate) link: Option<Link>,
    pub(crate) connect_at: i64,
    backoff: i64,
    pub(crate) cut_until: i64,
    /// When the newest news go out, or come in.
    report_at: Option<i64>,
    poll_at: Option<i64>,
    termination: Option<String>,
    shown_as: Option<(PodPhase, bool, bool, bool, bool)>,
}

impl Pod {
    pub(crate) fn new(uid: &str, name: &str, host: &str, sidecar: Sidecar, now: i64, created_at: i64) -> Self {
        Self {
            uid: uid.to_owned(),
            name: name.to_owned(),
            host: host.to_owned(),
            sidecar,
            phase: PodPhase::Pending,
            created: now,
            created_at,
            ends_at: None,
            gone_at: None,
            shown_ready: false,
            shown_since: now,
            probe_at: None,
            link: None,
            connect_at: now,
            backoff: 250,
            cut_until: 0,
            report_at: None,
            poll_at: None,
            termination: None,
            shown_as: None,
        }
    }

    /// What the API server shows, if it is something else than before.
    pub(crate) fn news(&mut self) -> Option<ApiPod> {
        let own = self.host == "web";
        let shown = (self.phase, self.shown_ready, self.sidecar.served(), self.gone_at.is_some(), own);
        (self.shown_as.replace(shown) != Some(shown)).then(|| self.shown())
    }

    pub(crate) fn shown(&self) -> ApiPod {
        ApiPod {
            name: self.name.clone(),
            host: Some(self.host.clone()),
            phase: self.phase,
            terminating: self.gone_at.is_some(),
            created: self.created_at,
            ready: self.shown_ready && self.phase == PodPhase::Running,
            transient: self.ends_at.is_some(),
            started: self.sidecar.served(),
            termination: self.termination.clone(),
        }
    }

    /// Whose snapshot it has.
    pub(crate) fn follows(&self) -> &str {
        let snapshot = self.sidecar.disk.snapshot.as_ref();
        snapshot.and_then(|s| s.host.split_once('/')).map_or(self.host.as_str(), |(_, name)| name)
    }

    /// It is connected as one of its host's.
    pub(crate) fn is_attached(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.host == self.host)
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.phase, PodPhase::Pending | PodPhase::Running)
    }

    pub(crate) fn next_event(&self, now: i64) -> i64 {
        if !self.is_running() {
            return self.gone_at.unwrap_or(i64::MAX);
        }
        let stream = match &self.link {
            Some(_) => [self.report_at, self.poll_at].into_iter().flatten().min().unwrap_or(i64::MAX),
            None if self.sidecar.process.is_some() => self.connect_at.max(self.cut_until),
            None => i64::MAX,
        };
        let own = [self.ends_at, self.gone_at, self.probe_at].into_iter().flatten();
        own.chain([self.sidecar.next_event(now), stream]).min().unwrap_or(i64::MAX)
    }

    /// What its kubelet does.
    pub(crate) fn probe(&mut self, now: i64) {
        if self.phase == PodPhase::Pending && self.sidecar.process.is_some() {
            self.phase = PodPhase::Running;
        }
        let ready = self.sidecar.readyz(now);
        if ready == self.shown_ready {
            self.probe_at = None;
        } else if *self.probe_at.get_or_insert(now + PROBE) <= now {
            self.shown_ready = ready;
            self.shown_since = now;
            self.probe_at = None;
        }
    }

    /// It ends in success, and leaves its last words.
    pub(crate) fn succeed(&mut self) {
        self.phase = PodPhase::Succeeded;
        self.sidecar.disk.ledger.close();
        let running = self.sidecar.process.iter().flat_map(|p| &p.slots);
        let mut up: Vec<_> = running.filter(|(_, s)| s.status == Status::Running).collect();
        up.sort_by_key(|(_, slot)| slot.proven);
        let revisions = up.into_iter().filter_map(|(_, slot)| Some(slot.current.as_ref()?.assignment.revision.clone()));
        let revisions: Vec<RevisionId> = revisions.collect();
        let process = self.sidecar.process.as_ref();
        let snapshot = self.sidecar.disk.snapshot.as_ref();
        let left = Termination {
            host_uid: snapshot.map(|s| s.host_uid.clone()).unwrap_or_default(),
            plan_generation: process.map_or(0, |p| p.plan_generation),
            revisions,
        };
        self.termination = Some(left.encode());
        self.sidecar.process = None;
        self.shown_ready = false;
        self.link = None;
    }

    pub(crate) fn disconnect(&mut self, now: i64, random: &mut Random) {
        if self.link.take().is_some() {
            self.backoff = 250;
        } else {
            self.backoff = (self.backoff * 2).min(LAST_BACKOFF);
        }
        self.connect_at = now + random.between(100, self.backoff);
        self.report_at = None;
        self.poll_at = None;
    }

    pub(crate) fn connect(&mut self, number: usize, replica: &Replica, host: &HostKey, now: i64, random: &mut Random) {
        let identity = Identity { namespace: host.namespace.clone(), pod: self.name.clone(), uid: self.uid.clone() };
        let hello = self.sidecar.hello(now);
        let last = hello.report.clone().unwrap_or_default();
        let told = hello.failures.iter().map(|f| f.id.clone()).collect();
        let mut carried = Carried::default();
        carried.heard(&last);
        let session = replica.hub.attach(host.clone(), identity, hello);
        let seen = self.sidecar.version;
        self.link = Some(Link { replica: number, host: host.name.clone(), session, carried, told, last, seen });
        self.poll_at = Some(now + random.between(1, 50));
    }

    /// Something of the sidecar may be new to the operator.
    pub(crate) fn note_news(&mut self, now: i64, latency: i64, random: &mut Random) {
        let Some(link) = &mut self.link else { return };
        if std::mem::replace(&mut link.seen, self.sidecar.version) == self.sidecar.version {
            return;
        }
        let link = &*link;
        let news = || {
            self.sidecar.report(now) != link.last
                || self.sidecar.records().iter().any(|record| !link.told.contains(&record.id))
        };
        if self.report_at.is_none() && news() {
            self.report_at = Some(now + random.between(1, latency));
        }
    }

    /// Failures first: a report without its failure would look like a plain return.
    pub(crate) fn send(&mut self, now: i64) {
        if self.report_at.is_none_or(|at| at > now) {
            return;
        }
        self.report_at = None;
        let Some(link) = &mut self.link else { return };
        for record in self.sidecar.records() {
            if link.told.insert(record.id.clone()) {
                link.session.failure(record);
            }
        }
        let report = self.sidecar.report(now);
        link.carried.heard(&report);
        link.last = report.clone();
        link.session.report(report);
    }

    pub(crate) fn poll_soon(&mut self, now: i64, latency: i64, random: &mut Random) {
        if self.link.is_some() && self.poll_at.is_none() {
            self.poll_at = Some(now + random.between(1, latency));
        }
    }

    /// Reads what the operator has to say. True: the stream ended.
    pub(crate) fn receive(&mut self, now: i64) -> bool {
        if self.poll_at.is_none_or(|at| at > now) {
            return false;
        }
        self.poll_at = None;
        let Some(link) = &mut self.link else { return false };
        while let Some(letter) = link.session.mailbox.next().now_or_never() {
            let message = link.carried.encode(letter);
            if is_traced() {
                eprintln!("          {} hears {}", self.uid, shown(&message));
            }
            if !self.sidecar.hear(message) {
                return true;
            }
        }
        false
    }

    /// Its kubelet has shown it as ready for longer than so.
    pub(crate) const fn is_shown_ready_for(&self, milliseconds: i64, now: i64) -> bool {
        self.shown_ready && now - self.shown_since > milliseconds
    }

    pub(crate) fn take_happened(&mut self) -> Vec<crate::sidecar::Happened> {
        mem::take(&mut self.sidecar.happened)
    }
}

/// A message, for a trace.
fn shown(message: &ToInstance) -> String {
    let names = |told: &[Assignment]| told.iter().map(|a| a.revision.clone()).collect::<Vec<_>>().join(" ");
    match &message.message {
        Some(Message::Snapshot(s)) => {
            let leaving: Vec<&str> = s.leaving.iter().map(|left| left.plugin.as_str()).collect();
            let (target, fallback) = (names(&s.target), names(&s.fallback));
            format!("plan {} target {target}; fallback {fallback}; leaving {leaving:?}", s.plan_generation)
        }
        Some(Message::Withdraw(withdraw)) => format!("{withdraw:?}"),
        Some(Message::KeepReady(keep)) => format!("{keep:?}"),
        Some(Message::FailureSeen(_)) => "that its failures were heard".to_owned(),
        Some(Message::Moved(_)) => "that it belongs elsewhere".to_owned(),
        None => "nothing".to_owned(),
    }
}
