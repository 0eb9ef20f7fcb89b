//! What a sidecar leaves as its container's termination message, so that a pod that ended in success proves what it
//! served. Pure.

use crate::revision::RevisionId;
use serde::{Deserialize, Serialize};

/// The longest message that Kubernetes keeps of a container, in bytes.
pub const MAX_MESSAGE: usize = 4096;

/// The plugins that ran, up, when the sidecar ended in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    /// The uid of the PluginHost whose snapshot was followed.
    pub host_uid: String,
    pub plan_generation: u64,
    /// Revisions that served, those on trial first. What finds no room is left out, and so is not proven.
    pub revisions: Vec<RevisionId>,
}

impl Termination {
    /// Returns the message as JSON of at most [`MAX_MESSAGE`] bytes.
    #[must_use]
    pub fn encode(&self) -> String {
        let whole = |kept: usize| {
            let revisions = self.revisions.iter().take(kept).cloned().collect();
            serde_json::to_string(&Self { revisions, ..self.clone() }).unwrap_or_default()
        };
        let mut kept = self.revisions.len();
        let mut text = whole(kept);
        while text.len() > MAX_MESSAGE && kept > 0 {
            kept -= 1;
            text = whole(kept);
        }
        text
    }

    /// Reads a message; none if it is not one of a sidecar.
    #[must_use]
    pub fn decode(message: &str) -> Option<Self> {
        serde_json::from_str(message).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_back() {
        let left = Termination { host_uid: "h".into(), plan_generation: 7, revisions: vec![RevisionId("a-1".into())] };
        assert_eq!(Termination::decode(&left.encode()), Some(left));
        assert_eq!(Termination::decode("panicked at"), None);
    }

    #[test]
    fn what_finds_no_room_is_left_out() {
        let revisions: Vec<_> = (0..400).map(|n| RevisionId(format!("a-plugin-{n:010}"))).collect();
        let message = Termination { revisions: revisions.clone(), ..Termination::default() }.encode();
        assert!(message.len() <= MAX_MESSAGE);
        let read = Termination::decode(&message).unwrap().revisions;
        assert!(read.len() > 100 && revisions.starts_with(&read));
    }
}
