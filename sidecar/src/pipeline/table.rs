//! All registered hooks in the order in which they run. Pure, but for reading the registry.

use crate::{
    instance::{Generation, Hook},
    registry::Slots,
    slot::Slot,
};
use rockstar_core::{assignment::FailurePolicy, manifest::HookType};
use rockstar_proto::app::Stage;
use std::{cmp::Reverse, sync::Arc};

/// One hook of the version that served when the table was made.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) slot: Arc<Slot>,
    pub(super) generation: Generation,
    pub(super) hook: Hook,
}

/// The hooks of all plugins, for one version of the registry.
#[derive(Debug, Default)]
pub struct Table {
    version: u64,
    hooks: [Vec<Entry>; HookType::ALL.len()],
}

/// What the plugins of one failure policy listen to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// Bits of `Stage`.
    pub stages: u32,
    /// Whether any wants the request's body.
    pub body: bool,
}

impl Table {
    pub(super) fn new(version: u64, slots: &Slots) -> Self {
        let mut hooks: [Vec<Entry>; HookType::ALL.len()] = Default::default();
        for slot in slots.values() {
            let Some(instance) = slot.current() else { continue };
            for hook in &instance.registrations().hooks {
                let entry = Entry { slot: Arc::clone(slot), generation: instance.generation(), hook: hook.clone() };
                hooks[hook.kind as usize].push(entry);
            }
        }
        for hooks in &mut hooks {
            // Stable: ties stay in load order, then in order of registration.
            hooks.sort_by_key(|entry| Reverse(entry.hook.priority));
        }
        Self { version, hooks }
    }

    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn of(&self, kind: HookType) -> &[Entry] {
        &self.hooks[kind as usize]
    }

    pub(super) fn wants_body(&self, kind: HookType) -> bool {
        self.of(kind).iter().any(|entry| entry.hook.body)
    }

    /// What the plugins with that failure policy listen to.
    #[must_use]
    pub fn listening(&self, policy: FailurePolicy) -> Listening {
        let of_policy = |entry: &&Entry| entry.slot.policies().failure_policy == policy;
        let mut listening = Listening::default();
        for kind in HookType::ALL {
            let mut entries = self.of(kind).iter().filter(of_policy).peekable();
            if entries.peek().is_some() {
                listening.stages |= stage(kind) as u32;
                listening.body |= kind == HookType::PreRequest && entries.any(|entry| entry.hook.body);
            }
        }
        listening
    }
}

const fn stage(kind: HookType) -> Stage {
    match kind {
        HookType::Startup | HookType::Shutdown => Stage::None,
        HookType::PreRequest => Stage::Before,
        HookType::PostRequest | HookType::PreResponse => Stage::After,
        HookType::PostResponse => Stage::Written,
        HookType::Error => Stage::Failure,
    }
}
