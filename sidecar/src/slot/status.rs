//! Where a plugin is in its life. Pure.

use std::time::SystemTime;

/// The reference's statuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    #[default]
    Unloaded,
    Loading,
    Initialized,
    Running,
    Stopped,
    Error,
}

impl Status {
    pub const ALL: [Self; 6] =
        [Self::Unloaded, Self::Loading, Self::Initialized, Self::Running, Self::Stopped, Self::Error];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unloaded => "unloaded",
            Self::Loading => "loading",
            Self::Initialized => "initialized",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
    }
}

/// What the manager knows of a plugin besides its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub status: Status,
    pub enabled: bool,
    /// When it was loaded; absent = it is not.
    pub loaded_at: Option<SystemTime>,
    /// Outlived its grace period here, or was stable at boot.
    pub proven: bool,
    /// Every connected application stream has seen the interests with it.
    pub acknowledged: bool,
    pub restarts: u32,
    /// How often its configuration changed since its process started.
    pub config_generation: u64,
    pub disabled_by_threshold: bool,
    /// CamelCase: why it cannot answer, or what it refused last; empty: nothing of that kind.
    pub reason: String,
    /// Nothing of it ever served here, and it must not be skipped: requests follow its failure policy.
    pub missing: bool,
}
