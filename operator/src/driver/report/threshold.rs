//! What is said of a plugin that exceeded its error threshold somewhere, in the reference's words. Pure.

use super::{
    conditions::Says,
    host::named,
    plugin::{Context, old},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rockstar_crds::{Plugin, PluginStatus, names::condition::ERROR_THRESHOLD_EXCEEDED};
use rockstar_proto::control::PluginState;
use std::collections::BTreeMap;

const ALERT: &str = "ErrorThresholdExceeded";
pub(super) const DISABLED: &str = "DisabledByErrorThreshold";

/// None: it did so nowhere, as far as is known.
pub(super) fn exceeded(context: &Context<'_>, plugin: &str, object: &Plugin) -> Option<Says> {
    let states = states(context, plugin);
    if states.is_empty() {
        return before(old(object)).filter(|_| is_someone_away(context)).map(as_it_was);
    }
    let disabled: States<'_> = states.clone().into_iter().filter(|(_, state)| state.disabled_by_threshold).collect();
    let (reason, message) = match disabled.is_empty() {
        true => (ALERT, alerting(plugin, &states)),
        false => (DISABLED, disabling(plugin, &disabled)),
    };
    Some(Says { kind: ERROR_THRESHOLD_EXCEEDED, holds: true, reason: reason.into(), message })
}

type States<'a> = BTreeMap<&'a str, &'a PluginState>;

/// By pod.
fn states<'a>(context: &'a Context<'_>, plugin: &str) -> States<'a> {
    let exceeds = |state: &&PluginState| state.disabled_by_threshold || !state.threshold_exceeded.is_empty();
    let of = |report: &'a rockstar_proto::control::Report| report.plugins.iter().find(|state| state.plugin == plugin);
    let attached = context.observed.attached.iter();
    attached.filter_map(|a| Some((a.pod.as_str(), of(&a.report).filter(exceeds)?))).collect()
}

fn alerting(plugin: &str, states: &States<'_>) -> String {
    format!("Plugin {plugin} exceeded error threshold{} (in {})", count(states), pods(states))
}

fn disabling(plugin: &str, states: &States<'_>) -> String {
    format!(
        "Plugin {plugin} automatically disabled due to error threshold{} (in {}); a reload starts it again",
        count(states),
        pods(states)
    )
}

/// Of the first; a sidecar of an older version does not tell.
fn count(states: &States<'_>) -> String {
    let told = states.values().map(|state| state.threshold_exceeded.as_str()).find(|text| !text.is_empty());
    told.map(|text| format!(": {text}")).unwrap_or_default()
}

fn pods(states: &States<'_>) -> String {
    named(&states.keys().copied().collect::<Vec<_>>())
}

/// Who is not connected may still be as it was.
fn is_someone_away(context: &Context<'_>) -> bool {
    let is_attached = |uid: &str| context.observed.attached.iter().any(|a| a.uid == uid);
    context.observed.view.pods.iter().any(|pod| pod.injected && !pod.terminating && !is_attached(&pod.uid))
}

fn before(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == ERROR_THRESHOLD_EXCEEDED)
}

fn as_it_was(condition: &Condition) -> Says {
    let (reason, message) = (condition.reason.clone(), condition.message.clone());
    Says { kind: ERROR_THRESHOLD_EXCEEDED, holds: true, reason, message }
}

/// The reason and text of an event: once until it is over, however many instances follow.
pub(super) fn newly_exceeded(old: Option<&PluginStatus>, new: &PluginStatus) -> Option<(&'static str, String)> {
    let now = before(&new.conditions)?;
    let known = old.and_then(|status| before(&status.conditions)).is_some_and(|then| then.reason == now.reason);
    let reason = [ALERT, DISABLED].into_iter().find(|reason| *reason == now.reason)?;
    (!known).then(|| (reason, now.message.clone()))
}
