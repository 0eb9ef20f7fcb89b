//! A launched plugin on its way through the lifecycle: Initialize, Start, Stop, Cleanup, each at most once and in this
//! order, and the end of its process. Does I/O.

use crate::{
    failure::{Failure, Step},
    instance::{Hook, Instance},
    launch::{Launched, Limits, last_lines},
    link::{CallError, LifecycleError},
    slot::{Outcome, Slot},
    target::Target,
};
use rockstar_core::{duration, manifest::HookType};
use rockstar_proto::{
    plugin::{self, Call, call, reply},
    types::{Empty, failure::Class},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

/// How long a process has after SIGTERM; it has had its Stop and Cleanup by then.
const TERM_PATIENCE: Duration = Duration::from_secs(2);
/// The end of a process follows the loss of its connection at once, or not at all.
const END_FOLLOWS: Duration = Duration::from_millis(200);

/// How far the lifecycle has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Loaded,
    Initialized,
    Started,
    Stopped,
}

/// See the module.
#[derive(Debug)]
pub struct Running {
    launched: Launched,
    phase: Phase,
}

impl Running {
    #[must_use]
    pub const fn new(launched: Launched) -> Self {
        Self { launched, phase: Phase::Loaded }
    }

    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    #[must_use]
    pub const fn instance(&self) -> &Arc<Instance> {
        &self.launched.instance
    }

    /// The target with the files that run.
    #[must_use]
    pub fn pin(&self, target: Target) -> Target {
        Target { pinned: Some(self.launched.artifact.clone()), ..target }
    }

    #[must_use]
    pub const fn process(&self) -> &crate::process::Process {
        &self.launched.process
    }

    /// Says whose fault a failure of it is.
    #[must_use]
    pub fn judge(&self, failure: Failure) -> Failure {
        self.launched.judge(failure)
    }

    /// The last lines on stderr, as the end of a text.
    pub async fn last_lines(&mut self) -> String {
        last_lines(&mut self.launched.process).await
    }

    /// Initialize; what it registered is in force afterwards.
    pub async fn initialize(&mut self, limits: &Limits) -> Result<(), Failure> {
        let instance = Arc::clone(self.instance());
        let config = plugin::Config { values: Some((&*instance.config()).into()), generation: 1 };
        let answer = instance.link().initialize(config, Instant::now() + limits.initialize).await;
        if let Err(error) = answer {
            let text = self.explain(error, limits.initialize).await;
            let text = format!("plugin initialization failed: {text}");
            return Err(self.judge(Failure::revision(Step::Initialize, "InitializeFailed", text)));
        }
        instance.activate();
        self.phase = Phase::Initialized;
        Ok(())
    }

    pub async fn start(&mut self, limits: &Limits) -> Result<(), Failure> {
        let answer = self.instance().link().start(Instant::now() + limits.start).await;
        if let Err(error) = answer {
            let text = format!("plugin start failed: {}", self.explain(error, limits.start).await);
            return Err(self.judge(Failure::revision(Step::Start, "StartFailed", text)));
        }
        self.phase = Phase::Started;
        Ok(())
    }

    /// Stop, if it was started. A process that does not answer in time is ended.
    pub async fn stop(&mut self, patience: Duration) -> Result<(), String> {
        if self.phase != Phase::Started {
            return Ok(());
        }
        self.phase = Phase::Stopped;
        let answer = self.instance().link().stop(Instant::now() + patience).await;
        let Err(error) = answer else { return Ok(()) };
        let forced = matches!(error, LifecycleError::Call(CallError::Timeout));
        let text = self.explain(error, patience).await;
        if forced {
            self.launched.process.end(TERM_PATIENCE).await;
        }
        Err(format!("plugin stop failed: {text}"))
    }

    /// Cleanup, if it was initialised, and the end of the process.
    pub async fn finish(mut self, patience: Duration) -> Result<(), String> {
        let cleaned = self.cleanup(patience).await;
        self.launched.instance.link().set_down();
        self.launched.process.end(TERM_PATIENCE).await;
        cleaned
    }

    async fn cleanup(&mut self, patience: Duration) -> Result<(), String> {
        if self.phase == Phase::Loaded || self.launched.process.has_ended().is_some() {
            return Ok(());
        }
        match self.instance().link().cleanup(Instant::now() + patience).await {
            Ok(()) => Ok(()),
            Err(error) => Err(format!("plugin cleanup failed: {}", self.explain(error, patience).await)),
        }
    }

    async fn explain(&mut self, error: LifecycleError, limit: Duration) -> String {
        match error {
            LifecycleError::Failed(failure)
                if failure.class() == Class::Panic && !failure.text.starts_with("panic:") =>
            {
                format!("panic: {}", failure.text)
            }
            LifecycleError::Failed(failure) => failure.text,
            LifecycleError::Call(CallError::Timeout) => format!("no answer within {}", duration::format(limit)),
            LifecycleError::Call(error) => self.ended_or(error).await,
        }
    }

    /// A lost connection is explained by the end of the process.
    async fn ended_or(&mut self, error: CallError) -> String {
        match timeout(END_FOLLOWS, self.launched.process.ended()).await {
            Ok(ended) => format!("{ended}{}", self.last_lines().await),
            Err(_) => error.to_string(),
        }
    }
}

/// Runs the startup or shutdown hooks of some plugins, highest priority first, ties in the order given. Failures are
/// recorded and logged, nothing more.
pub async fn lifecycle_hooks(kind: HookType, plugins: &[(Arc<Slot>, Arc<Instance>)]) {
    let mut hooks: Vec<(usize, Hook)> = plugins
        .iter()
        .enumerate()
        .flat_map(|(place, (_, instance))| {
            instance.registrations().hooks.iter().map(|h| (place, h.clone())).collect::<Vec<_>>()
        })
        .filter(|(_, hook)| hook.kind == kind)
        .collect();
    hooks.sort_by_key(|(place, hook)| (std::cmp::Reverse(hook.priority), *place, hook.order));
    for (place, hook) in hooks {
        if let Some((slot, instance)) = plugins.get(place) {
            lifecycle_hook(&hook, slot, instance).await;
        }
    }
}

async fn lifecycle_hook(hook: &Hook, slot: &Slot, instance: &Instance) {
    let limit = slot.policies().hook_timeout;
    let call =
        Call { handler: hook.handler.clone(), call: Some(call::Call::LifecycleHook(Empty {})), ..Call::default() };
    let began = Instant::now();
    let error = match instance.link().call(call, began + limit).await {
        Ok(reply) => match reply.reply {
            Some(reply::Reply::Failure(failure)) => Some(failure.text),
            _ => None,
        },
        Err(CallError::Timeout) => {
            let limit = duration::format(limit);
            Some(format!("hook execution timeout: {} hook exceeded {limit} timeout", hook.kind))
        }
        Err(error) => Some(error.to_string()),
    };
    slot.record.hook(hook.kind, began.elapsed(), error.as_deref().map_or(Outcome::Success, Outcome::Error));
    if let Some(error) = error {
        tracing::error!(plugin = slot.name(), hook = %hook.kind, "Hook failed: {} {}: {error}", slot.name(), hook.kind);
    }
}
