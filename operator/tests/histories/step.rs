//! What happens to a fleet, one step after another. Plain data, so that a history can be kept and shrunk.

use serde::{Deserialize, Serialize};

/// Pods and hosts are given by number, modulo how many there are, so that each step means something in each history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Step {
    /// Seconds.
    Wait(u32),
    /// Writes a Plugin's manifest with this version.
    Apply {
        host: usize,
        plugin: char,
        version: (u32, u32),
        behaviour: Behaviour,
    },
    Delete {
        host: usize,
        plugin: char,
    },
    Enable {
        host: usize,
        plugin: char,
        on: bool,
    },
    Priority {
        host: usize,
        plugin: char,
        priority: i32,
    },
    /// The failure policy.
    Closed {
        host: usize,
        plugin: char,
        closed: bool,
    },
    /// Grants the permission `network`, or takes it away.
    Network {
        host: usize,
        plugin: char,
        on: bool,
    },
    /// Writes a value of the plugin's configuration.
    Configure {
        host: usize,
        plugin: char,
        value: u32,
    },
    Retry {
        host: usize,
        plugin: char,
    },
    Scale {
        host: usize,
        pods: usize,
    },
    /// A pod that ends by itself, in success.
    Job {
        host: usize,
        seconds: u32,
    },
    /// Deletes a pod; its Deployment makes another one.
    Evict {
        pod: usize,
    },
    /// kill -9 of a sidecar.
    Kill {
        pod: usize,
    },
    /// Ends a sidecar in order; its container starts again.
    Restart {
        pod: usize,
    },
    /// kill -9 of a plugin's process.
    Crash {
        pod: usize,
        plugin: char,
    },
    /// Moves a pod's label to the other host.
    Relabel {
        pod: usize,
    },
    /// A pod's stream breaks for so many seconds.
    CutStream {
        pod: usize,
        seconds: u32,
    },
    /// A node does not reach the registry for so many seconds.
    CutNode {
        node: usize,
        seconds: u32,
    },
    /// The leader dies, and another one leads after so many seconds.
    LoseLeader {
        seconds: u32,
    },
    /// The leader freezes, another one takes over, and the first one wakes up after so many seconds.
    FreezeLeader {
        seconds: u32,
    },
    /// Steps a clock, in milliseconds.
    Clock {
        whose: Whose,
        by: i64,
    },
    /// Such writes fail for so many seconds.
    FailWrites {
        of: Writes,
        seconds: u32,
    },
    /// Secrets cannot be read for so many seconds.
    HideSecrets {
        seconds: u32,
    },
    /// The namespace answers 403 for so many seconds.
    Forbid {
        seconds: u32,
    },
    /// Watches bring nothing for so many seconds.
    LagWatches {
        seconds: u32,
    },
    /// A Plugin cannot be decoded for so many seconds.
    Garble {
        host: usize,
        plugin: char,
        seconds: u32,
    },
    Pause {
        host: usize,
        on: bool,
    },
    Partition {
        host: usize,
        pods: u32,
    },
    MaxUnavailable {
        host: usize,
        pods: u32,
    },
    Threshold {
        host: usize,
        instances: u32,
    },
    Halt {
        host: usize,
        on: bool,
    },
    DeleteHost {
        host: usize,
    },
    CreateHost {
        host: usize,
    },
}

/// How a version behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Behaviour {
    Good,
    /// Its artifact is not in the registry.
    NotFound,
    /// Its registry cannot be reached.
    Unreachable,
    FailsToStart,
    /// Its process ends so many seconds after each start, in this share of the pods.
    Crashes {
        after: u32,
        percent: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Whose {
    ApiServer,
    Operator,
    Pod(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Writes {
    Rollout,
    Revision,
    PluginStatus,
    HostStatus,
}

/// A seed for all that is left to chance, and what happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct History {
    pub(crate) seed: u64,
    pub(crate) steps: Vec<Step>,
}
