//! What a sidecar knows after its own restart: the newest snapshot and the ledger, in a private directory. Does I/O.

use super::{
    desired,
    ledger::{Ledger, Moment},
};
use crate::{
    failure::Failure,
    manager::{Journal, Verdict, budget::Crashes},
    target::Target,
};
use parking_lot::Mutex;
use prost::Message;
use rockstar_proto::control::{FailureRecord, Snapshot, Withdraw};
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// What cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("failed to write {}: {cause}", path.display())]
    Write { path: PathBuf, cause: io::Error },
    #[error("the snapshot of plan {plan_generation} is older than plan {known}, which this sidecar follows")]
    Older { plan_generation: u64, known: u64 },
}

/// See the module.
#[derive(Debug)]
pub struct Memory {
    directory: PathBuf,
    snapshot: watch::Sender<Option<Arc<Snapshot>>>,
    ledger: Mutex<Ledger>,
    /// Grows with every change of the ledger.
    changes: watch::Sender<u64>,
    /// The plan generation of the snapshot that is being applied, or was last.
    applying: AtomicU64,
}

impl Memory {
    /// Reads what the process before this one left. Trials that it left open have failed.
    pub fn open(run: &Path) -> Result<Arc<Self>, MemoryError> {
        let directory = run.join("control");
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&directory).map_err(|cause| MemoryError::Write { path: directory.clone(), cause })?;
        let snapshot = fs::read(directory.join(SNAPSHOT)).ok().and_then(|bytes| Snapshot::decode(&*bytes).ok());
        let ledger = fs::read(directory.join(LEDGER)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let (generation, first_set) = snapshot.as_ref().map_or((0, false), |s| (s.plan_generation, s.first_set));
        let memory = Self {
            directory,
            applying: AtomicU64::new(generation),
            snapshot: watch::Sender::new(snapshot.map(Arc::new)),
            ledger: Mutex::new(ledger.unwrap_or_default()),
            changes: watch::Sender::new(0),
        };
        let moment = memory.moment();
        memory.change(|ledger| ledger.died_on_trial(first_set, moment));
        Ok(Arc::new(memory))
    }

    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.borrow().clone()
    }

    pub(super) fn snapshots(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.snapshot.subscribe()
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Keeps a snapshot, on disk first. One of an older plan is refused.
    pub(super) fn keep(&self, new: Snapshot) -> Result<(), MemoryError> {
        let old = self.snapshot();
        let known = old.as_ref().filter(|o| o.host_uid == new.host_uid).map_or(0, |o| o.plan_generation);
        if new.plan_generation < known {
            return Err(MemoryError::Older { plan_generation: new.plan_generation, known });
        }
        let is_other_host = old.as_ref().is_some_and(|old| old.host_uid != new.host_uid);
        self.follow(desired::complete(new, old.as_deref()))?;
        if is_other_host {
            self.change(Ledger::forgive_all);
        }
        Ok(())
    }

    /// Cuts the snapshot that is followed. What cannot be written is taken away all the same.
    pub(super) fn withdraw(&self, withdraw: &Withdraw) -> Result<(), MemoryError> {
        let Some(old) = self.snapshot() else { return Ok(()) };
        let cut = desired::cut((*old).clone(), withdraw);
        let kept = self.follow(cut.clone());
        if kept.is_err() {
            self.snapshot.send_replace(Some(Arc::new(cut)));
        }
        kept
    }

    fn follow(&self, snapshot: Snapshot) -> Result<(), MemoryError> {
        if self.snapshot().as_deref() != Some(&snapshot) {
            self.write(SNAPSHOT, &snapshot.encode_to_vec())?;
            self.snapshot.send_replace(Some(Arc::new(snapshot)));
        }
        Ok(())
    }

    /// Tells whether the instance was ready before.
    #[must_use]
    pub fn served(&self) -> bool {
        self.read(Ledger::served)
    }

    /// The instance was ready.
    pub fn serves(&self) {
        self.change(Ledger::serves);
    }

    pub(super) fn records(&self) -> Vec<FailureRecord> {
        self.ledger.lock().records()
    }

    pub(super) fn heard(&self, ids: &[String]) {
        self.change(|ledger| ledger.heard(ids));
    }

    pub(super) fn read<T>(&self, question: impl FnOnce(&Ledger) -> T) -> T {
        question(&self.ledger.lock())
    }

    /// A snapshot of that plan is about to be applied.
    pub(super) fn applies(&self, plan_generation: u64) {
        self.applying.store(plan_generation, SeqCst);
        self.change(|ledger| ledger.forgive(plan_generation));
    }

    /// A failure that no trial tells of.
    pub(super) fn failed(&self, target: &Target, failure: &Failure) {
        let moment = self.moment();
        self.change(|ledger| ledger.failed(target, failure, moment));
    }

    /// Something of the snapshot that is being applied cannot be read.
    pub(super) fn unread(&self, plugin: &str, revision: &str, why: (&str, &str)) {
        let moment = self.moment();
        self.change(|ledger| ledger.unread(plugin, revision, why, moment));
    }

    pub(super) fn runs(&self, plugin: &str, revision: &str) {
        self.change(|ledger| ledger.runs(plugin, revision));
    }

    /// The process ends in order: what is on trial has not failed.
    pub fn close(&self) {
        self.change(Ledger::close);
    }

    fn moment(&self) -> Moment {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Moment { unix_ms, plan_generation: self.applying.load(SeqCst) }
    }

    /// Writes the ledger if the change made a difference.
    fn change(&self, change: impl FnOnce(&mut Ledger)) {
        let mut ledger = self.ledger.lock();
        let before = ledger.clone();
        change(&mut ledger);
        if *ledger == before {
            return;
        }
        let written = serde_json::to_vec(&*ledger).map_err(io::Error::other);
        let written = written.map_err(|cause| MemoryError::Write { path: self.directory.join(LEDGER), cause });
        if let Err(error) = written.and_then(|bytes| self.write(LEDGER, &bytes)) {
            tracing::error!("a restart of this sidecar will not know of a trial or failure: {error}");
        }
        drop(ledger);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), MemoryError> {
        let path = self.directory.join(name);
        let fresh = self.directory.join(format!("{name}.new"));
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(&fresh).and_then(|mut file| {
            io::Write::write_all(&mut file, bytes)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        });
        written.map_err(|cause| MemoryError::Write { path, cause })
    }
}

const SNAPSHOT: &str = "snapshot";
const LEDGER: &str = "ledger.json";

impl Journal for Arc<Memory> {
    fn begins(&self, targets: &[Target]) {
        let moment = self.moment();
        self.change(|ledger| ledger.begins(targets, moment));
    }

    fn rejoins(&self, target: &Target, partners: &[String]) {
        let moment = self.moment();
        self.change(|ledger| ledger.rejoins(target, partners, moment));
    }

    fn ends(&self, targets: &[Target], verdict: Verdict<'_>) {
        let moment = self.moment();
        self.change(|ledger| match verdict {
            Verdict::Failed(target, failure) => ledger.ends_failed(targets, target, failure, moment),
            Verdict::Proven | Verdict::Undecided => ledger.ends(targets),
        });
    }

    fn gives_up(&self) -> bool {
        true
    }

    fn crashes(&self, plugin: &str) -> Crashes {
        self.read(|ledger| ledger.crashes(plugin))
    }

    fn keep_crashes(&self, plugin: &str, crashes: Crashes) {
        self.change(|ledger| ledger.keep_crashes(plugin, crashes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::desired::tests::target;

    fn snapshot(plan_generation: u64) -> Snapshot {
        Snapshot { host_uid: "h".into(), plan_generation, ..Snapshot::default() }
    }

    #[test]
    fn a_restart_knows_the_newest_snapshot_and_refuses_older_ones() {
        let run = tempfile::tempdir().unwrap();
        Memory::open(run.path()).unwrap().keep(snapshot(7)).unwrap();
        let memory = Memory::open(run.path()).unwrap();
        assert_eq!(memory.snapshot().unwrap().plan_generation, 7);
        let refused = memory.keep(snapshot(6)).unwrap_err();
        assert_eq!(refused.to_string(), "the snapshot of plan 6 is older than plan 7, which this sidecar follows");
        memory.keep(Snapshot { host_uid: "other".into(), ..snapshot(1) }).unwrap();
    }

    #[test]
    fn what_failed_under_another_host_is_forgotten() {
        let run = tempfile::tempdir().unwrap();
        let memory = Memory::open(run.path()).unwrap();
        memory.keep(snapshot(7)).unwrap();
        let on_trial = target("cache", "cache-2");
        let target = target("auth", "auth-2");
        let failure = Failure::revision(crate::failure::Step::Initialize, "InitializeFailed", "no key");
        memory.ends(std::slice::from_ref(&target), Verdict::Failed(&target, &failure));
        memory.keep(snapshot(7)).unwrap();
        memory.begins(&[on_trial]);
        assert!(memory.read(|ledger| ledger.is_condemned(&target)) && memory.records().len() == 1);
        memory.keep(Snapshot { host_uid: "other".into(), ..snapshot(1) }).unwrap();
        assert!(memory.read(|ledger| !ledger.is_condemned(&target) && ledger.trials().next().is_none()));
        assert_eq!(memory.records(), []);
    }

    #[test]
    fn a_trial_left_open_has_failed_unless_the_end_was_in_order() {
        let run = tempfile::tempdir().unwrap();
        let target = target("auth", "auth-2");
        Memory::open(run.path()).unwrap().begins(std::slice::from_ref(&target));
        let memory = Memory::open(run.path()).unwrap();
        assert!(memory.read(|l| l.is_condemned(&target)));
        assert_eq!(memory.records().len(), 1);

        let run = tempfile::tempdir().unwrap();
        let memory = Memory::open(run.path()).unwrap();
        memory.begins(std::slice::from_ref(&target));
        memory.close();
        assert!(Memory::open(run.path()).unwrap().records().is_empty());
    }
}
