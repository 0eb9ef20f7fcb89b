//! Conditions as Kubernetes wants them: the time of the last transition moves only when the status flips. Pure.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use rockstar_core::text;
use rockstar_crds::names::condition;

/// Room for several failures, in bytes.
const LONGEST_MESSAGE: usize = 4 * text::MAX_FAILURE;

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Says {
    pub(super) kind: &'static str,
    pub(super) holds: bool,
    pub(super) reason: String,
    pub(super) message: String,
}

/// How the whole stands: what Ready, Reconciling and Stalled are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outlook {
    pub(super) course: Course,
    pub(super) reason: String,
    pub(super) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    Ready,
    /// It will be ready by itself.
    Moving,
    /// Someone must do something.
    Stuck,
}

impl Outlook {
    pub(super) fn new(course: Course, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { course, reason: reason.into(), message: message.into() }
    }

    /// Reconciling and Stalled exist only while they are true.
    pub(super) fn says(&self) -> Vec<Says> {
        let say = |kind, holds| Says { kind, holds, reason: self.reason.clone(), message: self.message.clone() };
        let ready = say(condition::READY, self.course == Course::Ready);
        match self.course {
            Course::Ready => vec![ready],
            Course::Moving => vec![ready, say(condition::RECONCILING, true)],
            Course::Stuck => vec![ready, say(condition::STALLED, true)],
        }
    }
}

/// The statements as conditions, in their order.
pub(super) fn conditions(old: &[Condition], new: Vec<Says>, generation: Option<i64>, now: i64) -> Vec<Condition> {
    new.into_iter().map(|says| condition_of(old, says, generation, now)).collect()
}

fn condition_of(old: &[Condition], says: Says, generation: Option<i64>, now: i64) -> Condition {
    let status = if says.holds { "True" } else { "False" };
    let before = old.iter().find(|c| c.type_ == says.kind && c.status == status);
    Condition {
        type_: says.kind.to_owned(),
        status: status.to_owned(),
        observed_generation: generation,
        last_transition_time: before.map_or_else(|| time(now), |c| c.last_transition_time.clone()),
        reason: says.reason,
        message: text::bounded(&says.message, LONGEST_MESSAGE),
    }
}

/// To the second, as Kubernetes keeps it.
pub(super) fn time(millis: i64) -> Time {
    Time(Timestamp::from_second(millis.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(holds: bool, reason: &str) -> Says {
        Says { kind: "Ready", holds, reason: reason.into(), message: String::new() }
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips() {
        let first = conditions(&[], vec![says(false, "A")], Some(1), 1_000);
        let second = conditions(&first, vec![says(false, "B")], Some(2), 5_000);
        assert_eq!(second[0].last_transition_time, time(1_000));
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("B", Some(2)));
        let third = conditions(&second, vec![says(true, "C")], Some(2), 9_000);
        assert_eq!(third[0].last_transition_time, time(9_000));
    }

    #[test]
    fn stalled_and_reconciling_are_there_only_while_true() {
        let kinds =
            |course| Outlook::new(course, "R", "m").says().into_iter().map(|s| (s.kind, s.holds)).collect::<Vec<_>>();
        assert_eq!(kinds(Course::Ready), [("Ready", true)]);
        assert_eq!(kinds(Course::Moving), [("Ready", false), ("Reconciling", true)]);
        assert_eq!(kinds(Course::Stuck), [("Ready", false), ("Stalled", true)]);
    }
}
