//! From a document to the entries of a plugins file, field by field. Pure.

use super::{DIRECTORY, Entry, FileError, FileFault, PluginsFile};
use crate::{
    assignment::{
        CrashBudget, ErrorThreshold, FailurePolicy, Policies, Queue, QueueStrategy, ReloadPolicy, ThresholdAction,
    },
    backends::{Backends, EventOverflow},
    document::{Content, Cursor, DocumentError, Place},
    hint,
    limits::{Limit, LimitError, Limits},
    permission::{Permission, Permissions},
    quantity,
    revision::Resources,
    sandbox::Sandbox,
};
use semver::Version;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

type Warnings = Vec<String>;
type Result<T> = std::result::Result<T, FileError>;
type Decoded<T> = std::result::Result<T, DocumentError>;

const TOP: [&str; 5] = ["plugins", "framework", "backends", "sandbox", "limits"];
const BACKENDS: [&str; 5] = ["database", "cache", "storage", "events", "config"];
const SECTION: [&str; 4] = ["enabled", "directory", "plugins", "error_threshold"];
const CRASH_BUDGET: [&str; 2] = ["max_crashes", "window"];
const ENTRY: [&str; 15] = [
    "resources",
    "crash_budget",
    "name",
    "enabled",
    "path",
    "priority",
    "config",
    "permissions",
    "hook_timeout",
    "stop_timeout",
    "reload",
    "failure_policy",
    "error_threshold",
    "command",
    "env",
];
const RELOAD: [&str; 5] = ["grace_period", "drain_timeout", "queue_timeout", "max_queue_size", "queue_strategy"];
const THRESHOLD: [&str; 6] = ["enabled", "max_errors", "time_window", "action", "reset_on_success", "webhook"];

/// What applies to entries that do not say otherwise.
struct Common {
    directory: String,
    error_threshold: Option<ErrorThreshold>,
}

pub(super) fn file(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<PluginsFile> {
    hint_at_typos(at, warnings)?;
    let framework = at.field("framework").map_or(Ok(None), |f| framework(&f, warnings))?;
    let backends = at.field("backends").map_or(Ok(Backends::default()), |f| backends(&f, warnings))?;
    let sandbox = or(at, "sandbox", Sandbox::default(), sandbox)?;
    let limits = at.field("limits").map_or(Ok(Limits::default()), |f| limits(&f))?;
    let Some(section) = at.field("plugins") else { return Err(missing(at, "plugins")) };
    if matches!(section.content(), Content::List(_)) {
        return Err(fault(FileFault::DirectList, section.place()));
    }
    section.expect_fields(&SECTION, warnings)?;
    let common = common(&section, warnings)?;
    let plugins = entries(&section, &common, warnings)?;
    let enabled = or(&section, "enabled", true, Cursor::flag)?;
    Ok(PluginsFile {
        enabled,
        directory: common.directory,
        plugins,
        error_threshold: common.error_threshold,
        framework,
        backends,
        sandbox,
        limits,
    })
}

/// The file may hold the framework's other sections, so that only likely slips are worth a word.
fn hint_at_typos(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<()> {
    for (name, cursor) in at.fields()? {
        if !TOP.contains(&name) && hint::nearest(name, TOP).is_some() {
            let place = cursor.place().map(|place| format!("{place}: ")).unwrap_or_default();
            warnings.push(format!("{place}{}", hint::unknown("field", name, TOP)));
        }
    }
    Ok(())
}

fn framework(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<Option<Version>> {
    at.expect_fields(&["version"], warnings)?;
    let Some(version) = at.field("version") else { return Ok(None) };
    let wanted = "a semantic version (X.Y.Z)";
    let text = version.text().map_err(|_| version.expected(wanted))?;
    Ok(Some(Version::parse(text).map_err(|_| version.expected(wanted))?))
}

/// Each is `{url: ADDRESS}`, `config` is `{file: PATH}`; `events` may also say what it drops.
fn backends(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<Backends> {
    at.expect_fields(&BACKENDS, warnings)?;
    let mut address = |service: &str, field: &'static str| {
        let Some(service) = at.field(service) else { return Ok(None) };
        service.expect_fields(&[field], warnings)?;
        let address = service.field(field).ok_or_else(|| missing(&service, field))?;
        Ok::<_, FileError>(Some(owned(&address)?))
    };
    let (database, cache, storage) =
        (address("database", "url")?, address("cache", "url")?, address("storage", "url")?);
    let config = address("config", "file")?;
    let (events, event_overflow) = at.field("events").map_or(Ok(Default::default()), |f| events(&f, warnings))?;
    Ok(Backends { database, cache, storage, events, event_overflow, config })
}

fn events(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<(Option<String>, EventOverflow)> {
    at.expect_fields(&["url", "overflow"], warnings)?;
    let url = at.field("url").map(|f| owned(&f)).transpose()?;
    Ok((url, or(at, "overflow", EventOverflow::default(), event_overflow)?))
}

/// Each by the name that the file's other fields suggest, or by that of resources. What is mistyped bounds nothing: it is
/// refused.
fn limits(at: &Cursor<'_>) -> Result<Limits> {
    let mut limits = Limits::default();
    let mut names: BTreeMap<Limit, &str> = BTreeMap::new();
    for (name, field) in at.fields()? {
        let refuse = |error: LimitError| fault(error.into(), field.place());
        let limit = Limit::of_file(name).map_err(refuse)?;
        if let Some(other) = names.insert(limit, name) {
            return Err(refuse(LimitError::Twice { name: name.to_owned(), other: other.to_owned() }));
        }
        limits.set(limit, limit.read(name, &field.value()).map_err(refuse)?);
    }
    limits.check().map_err(|error| fault(error.into(), at.place()))
}

fn resources(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<Resources> {
    at.expect_fields(&["memory"], warnings)?;
    Ok(Resources { memory: or(at, "memory", Resources::default().memory, memory)? })
}

fn memory(at: &Cursor<'_>) -> Decoded<u64> {
    let bytes = match at.content() {
        Content::String(text) => quantity::parse(text),
        _ => at.value().as_u64(),
    };
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| at.expected("an amount of memory like 100Mi"))
}

fn common(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<Common> {
    let error_threshold = at.field("error_threshold").map_or(Ok(None), |f| threshold(&f, warnings))?;
    let directory = or(at, "directory", DIRECTORY.to_owned(), owned)?;
    Ok(Common { directory, error_threshold })
}

fn entries(at: &Cursor<'_>, common: &Common, warnings: &mut Warnings) -> Result<Vec<Entry>> {
    let Some(list) = at.field("plugins") else { return Ok(Vec::new()) };
    let mut names = BTreeSet::new();
    let mut entries = Vec::new();
    for item in list.items()? {
        let entry = entry(&item, common, warnings)?;
        if !names.insert(entry.name.clone()) {
            return Err(fault(FileFault::ListedTwice(entry.name), item.place()));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(at: &Cursor<'_>, common: &Common, warnings: &mut Warnings) -> Result<Entry> {
    at.expect_fields(&ENTRY, warnings)?;
    let name = at.field("name").map(|cursor| cursor.text().map(str::to_owned)).transpose()?;
    let name = name.filter(|name| !name.trim().is_empty()).ok_or_else(|| missing(at, "name"))?;
    let default_path = format!("{}/{name}", common.directory.trim_end_matches('/'));
    Ok(Entry {
        enabled: or(at, "enabled", true, Cursor::flag)?,
        path: or(at, "path", default_path, owned)?,
        config: or(at, "config", serde_json::Map::new(), Cursor::values)?,
        permissions: at.field("permissions").map_or(Ok(Permissions::new()), |f| permissions(&f))?,
        command: or(at, "command", Vec::new(), Cursor::texts)?,
        env: or(at, "env", BTreeMap::new(), env)?,
        resources: at.field("resources").map_or(Ok(Resources::default()), |f| resources(&f, warnings))?,
        policies: policies(at, common, warnings)?,
        name,
    })
}

fn policies(at: &Cursor<'_>, common: &Common, warnings: &mut Warnings) -> Result<Policies> {
    let default = Policies::default();
    let priority = |cursor: &Cursor<'_>| cursor.integer("a 32-bit integer");
    let own_threshold = at.field("error_threshold").map(|f| threshold(&f, warnings)).transpose()?;
    let webhook = common.error_threshold.as_ref().and_then(|t| t.webhook.clone());
    let own_threshold =
        own_threshold.map(|own| own.map(|own| ErrorThreshold { webhook: own.webhook.or(webhook), ..own }));
    Ok(Policies {
        priority: or(at, "priority", default.priority, priority)?,
        failure_policy: or(at, "failure_policy", default.failure_policy, failure_policy)?,
        hook_timeout: or(at, "hook_timeout", default.hook_timeout, positive)?,
        stop_timeout: or(at, "stop_timeout", default.stop_timeout, positive)?,
        reload: at.field("reload").map_or(Ok(default.reload), |f| reload(&f, warnings))?,
        error_threshold: own_threshold.unwrap_or_else(|| common.error_threshold.clone()),
        crash_budget: at.field("crash_budget").map_or(Ok(default.crash_budget), |f| crash_budget(&f, warnings))?,
    })
}

fn crash_budget(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<CrashBudget> {
    at.expect_fields(&CRASH_BUDGET, warnings)?;
    let default = CrashBudget::default();
    let count = |cursor: &Cursor<'_>| cursor.integer("an integer of 0 or more");
    Ok(CrashBudget {
        max_crashes: or(at, "max_crashes", default.max_crashes, count)?,
        window: or(at, "window", default.window, positive)?,
    })
}

fn reload(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<ReloadPolicy> {
    at.expect_fields(&RELOAD, warnings)?;
    let default = ReloadPolicy::default();
    let size = |cursor: &Cursor<'_>| cursor.integer("an integer of 0 or more");
    Ok(ReloadPolicy {
        grace_period: or(at, "grace_period", default.grace_period, Cursor::duration)?,
        drain_timeout: or(at, "drain_timeout", default.drain_timeout, Cursor::duration)?,
        queue: Queue {
            strategy: or(at, "queue_strategy", default.queue.strategy, queue_strategy)?,
            timeout: or(at, "queue_timeout", default.queue.timeout, positive)?,
            max_size: or(at, "max_queue_size", default.queue.max_size, size)?,
        },
    })
}

/// None where it is switched off; fields left out have the values of the reference's example.
fn threshold(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<Option<ErrorThreshold>> {
    at.expect_fields(&THRESHOLD, warnings)?;
    let example = ErrorThreshold::default();
    let threshold = ErrorThreshold {
        max_errors: or(at, "max_errors", example.max_errors, max_errors)?,
        time_window: or(at, "time_window", example.time_window, positive)?,
        action: or(at, "action", example.action, threshold_action)?,
        reset_on_success: or(at, "reset_on_success", example.reset_on_success, Cursor::flag)?,
        webhook: at.field("webhook").map(|f| webhook(&f)).transpose()?,
    };
    let enabled = or(at, "enabled", true, Cursor::flag)?;
    Ok(enabled.then_some(threshold))
}

fn permissions(at: &Cursor<'_>) -> Result<Permissions> {
    let mut granted = Permissions::new();
    for (name, cursor) in at.fields()? {
        let unknown = |error| FileFault::Permission { field: at.path().to_owned(), error };
        let permission = name.parse::<Permission>();
        let permission = permission.map_err(|error| fault(unknown(error), cursor.place()))?;
        if cursor.flag()? {
            granted.insert(permission);
        }
    }
    Ok(granted)
}

fn env(at: &Cursor<'_>) -> Decoded<BTreeMap<String, String>> {
    at.fields()?.into_iter().map(|(name, cursor)| Ok((name.to_owned(), owned(&cursor)?))).collect()
}

fn max_errors(at: &Cursor<'_>) -> Decoded<u32> {
    let wanted = "an integer of 1 or more";
    at.integer(wanted).and_then(|count| if count == 0 { Err(at.expected(wanted)) } else { Ok(count) })
}

fn webhook(at: &Cursor<'_>) -> Decoded<String> {
    let text = at.text()?;
    match text.starts_with("http://") || text.starts_with("https://") {
        true => Ok(text.to_owned()),
        false => Err(at.expected("an address that begins with http:// or https://")),
    }
}

fn positive(at: &Cursor<'_>) -> Decoded<Duration> {
    at.duration().and_then(|d| if d.is_zero() { Err(at.expected("a duration above 0")) } else { Ok(d) })
}

fn failure_policy(at: &Cursor<'_>) -> Decoded<FailurePolicy> {
    one_of(at, "closed or open", &[("closed", FailurePolicy::Closed), ("open", FailurePolicy::Open)])
}

fn sandbox(at: &Cursor<'_>) -> Decoded<Sandbox> {
    one_of(at, "Required or BestEffort", &Sandbox::ALL.map(|sandbox| (sandbox.name(), sandbox)))
}

fn queue_strategy(at: &Cursor<'_>) -> Decoded<QueueStrategy> {
    one_of(at, "block or reject", &[("block", QueueStrategy::Block), ("reject", QueueStrategy::Reject)])
}

fn event_overflow(at: &Cursor<'_>) -> Decoded<EventOverflow> {
    one_of(at, "drop_newest or drop_oldest", &EventOverflow::ALL.map(|overflow| (overflow.name(), overflow)))
}

fn threshold_action(at: &Cursor<'_>) -> Decoded<ThresholdAction> {
    let actions =
        [("disable", ThresholdAction::Disable), ("log", ThresholdAction::Log), ("alert", ThresholdAction::Alert)];
    one_of(at, "disable, log or alert", &actions)
}

/// Words are taken in any case: resources write `Closed`.
fn one_of<T: Copy>(at: &Cursor<'_>, wanted: &'static str, words: &[(&str, T)]) -> Decoded<T> {
    let Content::String(text) = at.content() else { return Err(at.expected(wanted)) };
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, value)| *value).ok_or_else(|| at.expected(wanted))
}

fn owned(at: &Cursor<'_>) -> Decoded<String> {
    at.text().map(str::to_owned)
}

/// The field's value, or what applies where it is left out.
fn or<'a, T>(at: &Cursor<'a>, field: &str, default: T, decode: impl FnOnce(&Cursor<'a>) -> Decoded<T>) -> Result<T> {
    Ok(at.field(field).map_or(Ok(default), |cursor| decode(&cursor))?)
}

fn missing(at: &Cursor<'_>, field: &str) -> FileError {
    fault(FileFault::MissingField(at.path_of(field)), at.place())
}

fn fault(fault: FileFault, place: Option<Place>) -> FileError {
    FileError { fault: Box::new(fault), place }
}
