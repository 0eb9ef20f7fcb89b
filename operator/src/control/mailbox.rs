//! What one stream is still to be told. Only the newest state waits here, so a slow reader costs one slot. No I/O.

use super::publication::Publication;
use bytes::Bytes;
use parking_lot::Mutex;
use rockstar_proto::control::{
    FailureSeen, KeepReady, Moved, Report, RevisionBody, Snapshot, ToInstance, Withdraw, to_instance::Message,
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use tokio::sync::Notify;

/// The slots of one stream.
#[derive(Debug, Default)]
pub struct Mailbox {
    slots: Mutex<Slots>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Slots {
    newest: Option<Arc<Publication>>,
    unsent: bool,
    /// The last withdrawal since the newest state was handed in.
    withdrawn: Option<Withdraw>,
    unsent_withdrawal: Option<Withdraw>,
    seen: BTreeSet<String>,
    /// None: nothing was said on this stream yet.
    keep_ready: Option<bool>,
    keep_ready_unsent: bool,
    closed: Option<Moved>,
}

/// One thing to say.
#[derive(Debug, PartialEq)]
pub enum Letter {
    State(Arc<Publication>),
    Withdraw(Withdraw),
    FailureSeen(FailureSeen),
    KeepReady(KeepReady),
    /// The last one.
    Moved(Moved),
}

impl Mailbox {
    /// Replaces what is to be run; the same again is not sent again.
    pub fn publish(&self, publication: &Arc<Publication>) {
        let mut slots = self.slots.lock();
        let same = slots.newest.as_ref().is_some_and(|old| Arc::ptr_eq(old, publication) || old == publication);
        if !same {
            slots.newest = Some(Arc::clone(publication));
            slots.unsent = true;
            slots.withdrawn = None;
            self.filled.notify_one();
        }
    }

    /// Takes away at once; the same again is not sent again. A state that gives what is taken away is not sent any more, nor is
    /// it what the instance has, so that it is sent when it is published again.
    pub fn withdraw(&self, withdrawal: Withdraw) {
        let mut slots = self.slots.lock();
        if slots.withdrawn.as_ref() != Some(&withdrawal) {
            if slots.newest.as_ref().is_some_and(|newest| newest.gives_any_of(&withdrawal)) {
                slots.newest = None;
                slots.unsent = false;
            }
            slots.withdrawn = Some(withdrawal.clone());
            slots.unsent_withdrawal = Some(withdrawal);
            self.filled.notify_one();
        }
    }

    /// These failure records are kept; the instance may forget them.
    pub fn acknowledge(&self, ids: impl IntoIterator<Item = String>) {
        let mut slots = self.slots.lock();
        slots.seen.extend(ids);
        if !slots.seen.is_empty() {
            self.filled.notify_one();
        }
    }

    /// Whether the instance stays ready in spite of a failing plugin.
    pub fn keep_ready(&self, keep: bool) {
        let mut slots = self.slots.lock();
        if slots.keep_ready != Some(keep) {
            slots.keep_ready = Some(keep);
            slots.keep_ready_unsent = true;
            self.filled.notify_one();
        }
    }

    /// Ends the stream; the instance reconnects to `address`, or asks the service again if it is empty.
    pub fn close(&self, address: &str) {
        self.slots.lock().closed = Some(Moved { address: address.to_owned() });
        self.filled.notify_one();
    }

    /// The next thing to say.
    pub async fn next(&self) -> Letter {
        loop {
            if let Some(letter) = self.take() {
                return letter;
            }
            self.filled.notified().await;
        }
    }

    fn take(&self) -> Option<Letter> {
        let mut slots = self.slots.lock();
        if let Some(moved) = &slots.closed {
            return Some(Letter::Moved(moved.clone()));
        }
        if let Some(withdrawal) = slots.unsent_withdrawal.take() {
            return Some(Letter::Withdraw(withdrawal));
        }
        if std::mem::take(&mut slots.unsent) {
            return slots.newest.clone().map(Letter::State);
        }
        if std::mem::take(&mut slots.keep_ready_unsent) {
            return Some(Letter::KeepReady(KeepReady { keep: slots.keep_ready.unwrap_or_default() }));
        }
        let ids: Vec<String> = std::mem::take(&mut slots.seen).into_iter().collect();
        (!ids.is_empty()).then_some(Letter::FailureSeen(FailureSeen { ids }))
    }
}

/// Which bodies the instance has, so that each travels once: an instance keeps those that its newest snapshot names.
#[derive(Debug, Default)]
pub struct Carried {
    /// With the credentials that went along; None: they were there before this stream, so that nobody knows which.
    holds: HashMap<String, Option<Bytes>>,
    newest: u64,
    /// Plugins were withdrawn since the last snapshot: the instance forgets their bodies, and says so later.
    is_cut: bool,
}

impl Carried {
    /// What the instance says is the truth, once it has heard the newest snapshot.
    pub fn heard(&mut self, report: &Report) {
        if report.plan_generation >= self.newest && !self.is_cut {
            let mut known = std::mem::take(&mut self.holds);
            let held = report.revisions.iter().map(|r| (r.clone(), known.remove(r).flatten()));
            self.holds = held.collect();
        }
    }

    /// The letter as a message.
    pub fn encode(&mut self, letter: Letter) -> ToInstance {
        let message = match letter {
            Letter::State(publication) => Message::Snapshot(self.snapshot(&publication)),
            Letter::Withdraw(withdrawal) => {
                self.cut(&withdrawal);
                Message::Withdraw(withdrawal)
            }
            Letter::FailureSeen(seen) => Message::FailureSeen(seen),
            Letter::KeepReady(keep) => Message::KeepReady(keep),
            Letter::Moved(moved) => Message::Moved(moved),
        };
        ToInstance { message: Some(message) }
    }

    fn cut(&mut self, withdrawal: &Withdraw) {
        if !withdrawal.plugins.is_empty() {
            self.holds.clear();
            self.is_cut = true;
        }
    }

    fn snapshot(&mut self, publication: &Publication) -> Snapshot {
        let snapshot = publication.snapshot(|body| self.lacks(body));
        let named: BTreeSet<&str> = publication.revisions().collect();
        self.holds.retain(|revision, _| named.contains(revision.as_str()));
        let sent = snapshot.bodies.iter().map(|b| (b.revision.clone(), Some(b.pull_secret_json.clone())));
        self.holds.extend(sent);
        self.newest = publication.plan_generation;
        self.is_cut = false;
        snapshot
    }

    /// Rotated credentials travel with their body, and so do some where it is not known which the instance has.
    fn lacks(&self, body: &RevisionBody) -> bool {
        match self.holds.get(&body.revision) {
            None => true,
            Some(None) => !body.pull_secret_json.is_empty(),
            Some(Some(sent)) => *sent != body.pull_secret_json,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_proto::control::{Allowed, Assignment, RevisionBody};

    fn publication(generation: u64, revisions: &[&str]) -> Arc<Publication> {
        let body = |r: &&str| (r.to_string(), Arc::new(RevisionBody { revision: r.to_string(), ..Default::default() }));
        Arc::new(Publication {
            plan_generation: generation,
            bodies: revisions.iter().map(body).collect(),
            ..Default::default()
        })
    }

    #[tokio::test]
    async fn the_newest_state_wins_and_the_same_is_not_sent_twice() {
        let mailbox = Mailbox::default();
        mailbox.publish(&publication(1, &[]));
        mailbox.publish(&publication(2, &[]));
        assert_eq!(mailbox.next().await, Letter::State(publication(2, &[])));
        mailbox.publish(&publication(2, &[]));
        mailbox.acknowledge(["f1".to_owned()]);
        assert_eq!(mailbox.next().await, Letter::FailureSeen(FailureSeen { ids: vec!["f1".into()] }));
    }

    #[tokio::test]
    async fn a_withdrawal_overtakes_states_and_ends_older_ones() {
        let mailbox = Mailbox::default();
        let withdrawal = Withdraw { plugins: vec!["a".into()], ..Withdraw::default() };
        mailbox.publish(&publication(1, &[]));
        mailbox.withdraw(withdrawal.clone());
        mailbox.withdraw(withdrawal.clone());
        mailbox.publish(&publication(2, &[]));
        assert_eq!(mailbox.next().await, Letter::Withdraw(withdrawal.clone()));
        assert_eq!(mailbox.next().await, Letter::State(publication(2, &[])));
        mailbox.withdraw(withdrawal.clone());
        assert_eq!(mailbox.next().await, Letter::Withdraw(withdrawal), "the state may have given it back");
    }

    #[tokio::test]
    async fn a_state_that_gives_what_was_taken_away_is_sent_again() {
        let giving = |plugin: &str| {
            let assignment =
                Assignment { plugin: plugin.into(), permissions: vec!["cache".into()], ..Assignment::default() };
            Arc::new(Publication { plan_generation: 1, target: vec![assignment], ..Publication::default() })
        };
        let limits = Allowed { plugin: "a".into(), permissions: Vec::new() };
        let gone = Withdraw { plugins: vec!["a".into()], ..Withdraw::default() };
        let less = Withdraw { permissions: vec![limits], ..Withdraw::default() };
        for withdrawal in [gone, less] {
            let mailbox = Mailbox::default();
            mailbox.publish(&giving("a"));
            assert_eq!(mailbox.next().await, Letter::State(giving("a")));
            mailbox.withdraw(withdrawal.clone());
            assert_eq!(mailbox.next().await, Letter::Withdraw(withdrawal.clone()));
            mailbox.publish(&giving("a"));
            assert_eq!(mailbox.next().await, Letter::State(giving("a")), "it was given again");
            mailbox.publish(&giving("b"));
            assert_eq!(mailbox.next().await, Letter::State(giving("b")));
            mailbox.withdraw(withdrawal.clone());
            assert_eq!(mailbox.next().await, Letter::Withdraw(withdrawal.clone()));
            mailbox.publish(&giving("b"));
            assert_eq!(mailbox.take(), None, "the state does not give it");
        }
    }

    #[test]
    fn bodies_of_withdrawn_plugins_travel_again() {
        let mut carried = Carried::default();
        let mut bodies = |letter, report: Option<Report>| {
            report.iter().for_each(|report| carried.heard(report));
            match carried.encode(letter).message {
                Some(Message::Snapshot(snapshot)) => snapshot.bodies.len(),
                _ => 0,
            }
        };
        let state = |generation| Letter::State(publication(generation, &["a-1", "b-1"]));
        let gone = || Letter::Withdraw(Withdraw { plugins: vec!["a".into()], ..Withdraw::default() });
        assert_eq!((bodies(state(1), None), bodies(state(2), None), bodies(gone(), None)), (2, 0, 0));
        // A report from before the withdrawal does not count.
        let revisions = vec!["a-1".to_owned(), "b-1".to_owned()];
        let before = Report { plan_generation: 2, revisions, ..Report::default() };
        assert_eq!((bodies(state(3), Some(before)), bodies(state(4), None)), (2, 0));
    }

    #[tokio::test]
    async fn closing_overtakes_the_rest() {
        let mailbox = Mailbox::default();
        mailbox.publish(&publication(1, &[]));
        mailbox.keep_ready(true);
        mailbox.close("a:1");
        assert_eq!(mailbox.next().await, Letter::Moved(Moved { address: "a:1".into() }));
    }

    fn sent(carried: &mut Carried, publication: Arc<Publication>) -> Vec<String> {
        match carried.encode(Letter::State(publication)).message {
            Some(Message::Snapshot(s)) => s.bodies.into_iter().map(|b| b.revision).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn report(generation: u64, revisions: &[&str]) -> Report {
        let revisions = revisions.iter().map(ToString::to_string).collect();
        Report { plan_generation: generation, revisions, ..Report::default() }
    }

    #[test]
    fn a_body_travels_once() {
        let mut carried = Carried::default();
        carried.heard(&report(0, &["b-1"]));
        assert_eq!(sent(&mut carried, publication(1, &["a-1", "b-1"])), ["a-1"]);
        assert_eq!(sent(&mut carried, publication(2, &["a-1", "b-1"])), [""; 0]);
        carried.heard(&report(1, &["b-1"]));
        assert_eq!(sent(&mut carried, publication(3, &["a-1"])), [""; 0], "the report is older than the body");
    }

    #[test]
    fn what_a_snapshot_does_not_name_is_thrown_away() {
        let mut carried = Carried::default();
        assert_eq!(sent(&mut carried, publication(1, &["a-1", "b-1"])), ["a-1", "b-1"]);
        assert_eq!(sent(&mut carried, publication(2, &["b-1"])), [""; 0]);
        assert_eq!(sent(&mut carried, publication(3, &["a-1", "b-1"])), ["a-1"]);
        carried.heard(&report(3, &["b-1"]));
        assert_eq!(sent(&mut carried, publication(4, &["a-1", "b-1"])), ["a-1"], "the instance says that it lacks it");
    }

    #[test]
    fn rotated_credentials_travel_with_their_body() {
        let with = |secret: &'static [u8]| {
            let body =
                RevisionBody { revision: "a-1".into(), pull_secret_json: secret.into(), ..RevisionBody::default() };
            Arc::new(Publication { bodies: [("a-1".to_owned(), Arc::new(body))].into(), ..Publication::default() })
        };
        let mut carried = Carried::default();
        assert_eq!(sent(&mut carried, with(b"one")), ["a-1"]);
        assert_eq!(sent(&mut carried, with(b"one")), [""; 0]);
        assert_eq!(sent(&mut carried, with(b"two")), ["a-1"]);
    }

    #[test]
    fn credentials_that_may_be_new_travel_with_a_body_that_was_there_before() {
        let with = |secret: &'static [u8]| {
            let body =
                RevisionBody { revision: "a-1".into(), pull_secret_json: secret.into(), ..RevisionBody::default() };
            Arc::new(Publication { bodies: [("a-1".to_owned(), Arc::new(body))].into(), ..Publication::default() })
        };
        let mut carried = Carried::default();
        carried.heard(&report(0, &["a-1"]));
        assert_eq!(sent(&mut carried, with(b"")), [""; 0], "there are none");
        assert_eq!(sent(&mut carried, with(b"one")), ["a-1"], "they came with this stream");
        assert_eq!(sent(&mut carried, with(b"one")), [""; 0]);
        carried.heard(&report(0, &["a-1"]));
        assert_eq!(sent(&mut carried, with(b"one")), [""; 0], "a report changes nothing about it");
    }
}
