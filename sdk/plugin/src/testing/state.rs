//! What the mock host knows and keeps. Memory only.

use crate::{PluginConfig, PluginContext, Result, context::WeakContext, manifest::Manifest};
use bytes::Bytes;
use parking_lot::Mutex;
use rockstar_proto::{
    plugin::{self as wire, Record, Registration, record, registration::Kind},
    types::{self, Failure, failure::Class},
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

const DEFAULT_PRIORITY: i32 = 100;

pub(super) type Shared = Arc<Mutex<State>>;
pub(super) type ServiceAnswer = Arc<dyn Fn(&str, Value) -> Result<Value> + Send + Sync>;
type Rows = (Vec<String>, Vec<Vec<Value>>);

/// Something that the plugin registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    pub name: String,
    pub priority: i32,
    /// The patterns of middleware; none = every request.
    pub routes: Vec<String>,
}

/// An event that the plugin published.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub name: String,
    pub data: Value,
}

/// A record of the plugin's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    pub text: String,
    pub fields: Map<String, Value>,
}

/// A statement with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub sql: String,
    pub arguments: Vec<Value>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) name: String,
    /// None = all.
    pub(super) granted: Option<BTreeSet<String>>,
    pub(super) defaults: Map<String, Value>,
    pub(super) config: Map<String, Value>,
    pub(super) framework: Value,
    pub(super) registrations: Vec<Registration>,
    pub(super) events: Vec<Event>,
    pub(super) records: Vec<Record>,
    pub(super) storage: BTreeMap<String, Bytes>,
    pub(super) cache: BTreeMap<String, Bytes>,
    pub(super) services: BTreeMap<(String, String), ServiceAnswer>,
    pub(super) rows: HashMap<String, Rows>,
    pub(super) statements: Vec<Statement>,
    pub(super) plugin: Option<WeakContext>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("registrations", &self.registrations).finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn go_by(&mut self, manifest: Manifest) {
        let given = |(key, rule): (String, Value)| Some((key, rule.get("default")?.clone()));
        self.defaults = manifest.config.into_iter().filter_map(given).collect();
        self.granted = Some(manifest.permissions.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect());
        self.name = manifest.name;
    }

    pub(super) fn plugin_config(&self) -> PluginConfig {
        PluginConfig::new(self.defaults.clone().into_iter().chain(self.config.clone()).collect())
    }

    pub(super) fn context(&self) -> Option<PluginContext> {
        self.plugin.as_ref()?.upgrade()
    }

    /// The handlers of that kind and name, in the order in which they run.
    pub(super) fn handlers(&self, kind: Kind, name: &str) -> Vec<String> {
        let mut found: Vec<_> = self.registrations.iter().filter(|r| r.kind() == kind && r.name == name).collect();
        found.sort_by_key(|r| -priority(r));
        found.into_iter().map(|r| r.handler.clone()).collect()
    }

    pub(super) fn allowed(&self, permission: &str) -> Result<(), Failure> {
        if self.granted.as_ref().is_none_or(|granted| granted.contains(permission)) {
            return Ok(());
        }
        let text =
            format!("permission denied: plugin '{}' attempted {permission} access without permission", self.name);
        Err(failure(Class::Denied, text))
    }

    pub(super) fn register(&mut self, wanted: Registration) -> Result<(), Failure> {
        if wanted.kind() == Kind::Route {
            self.allowed("router")?;
        }
        let taken = self.registrations.iter().any(|r| same(r, &wanted));
        let what = match wanted.kind() {
            Kind::Middleware => "middleware already registered",
            Kind::Service => "service already exported",
            Kind::Route => "route already registered",
            _ => "",
        };
        if taken && !what.is_empty() {
            return Err(failure(Class::Returned, format!("{what}: '{}'", Registered::from(&wanted).name)));
        }
        self.registrations.push(wanted);
        Ok(())
    }

    pub(super) fn unregister(&mut self, wanted: &Registration) -> Result<(), Failure> {
        let place = self.registrations.iter().position(|r| same(r, wanted));
        let Some(place) = place else {
            return Err(failure(Class::NotFound, format!("middleware not found: '{}'", wanted.name)));
        };
        self.registrations.remove(place);
        Ok(())
    }

    pub(super) fn metrics(&self) -> BTreeMap<String, f64> {
        let mut metrics = BTreeMap::new();
        for record in &self.records {
            let value = metrics.entry(record.name.clone());
            match record.kind() {
                record::Kind::Counter | record::Kind::Histogram => *value.or_default() += record.number,
                record::Kind::Gauge => *value.or_default() = record.number,
                _ => {}
            }
        }
        metrics
    }
}

fn same(a: &Registration, b: &Registration) -> bool {
    a.kind == b.kind && Registered::from(a).name == Registered::from(b).name
}

pub(super) fn priority(registration: &Registration) -> i32 {
    registration.priority.unwrap_or(DEFAULT_PRIORITY)
}

pub(super) fn failure(class: Class, text: String) -> Failure {
    Failure { class: class.into(), text, ..Failure::default() }
}

impl From<&Registration> for Registered {
    fn from(r: &Registration) -> Self {
        let name = match r.kind() {
            Kind::Route => format!("{} {}", r.method, r.routes.first().map_or("", String::as_str)),
            _ => r.name.clone(),
        };
        Self { name, priority: priority(r), routes: r.routes.clone() }
    }
}

impl From<&wire::Event> for Event {
    fn from(event: &wire::Event) -> Self {
        let data = types::Value::decoded(event.data.clone()).map(|value| value.to_json());
        Self { name: event.name.clone(), data: data.unwrap_or_default() }
    }
}

impl From<&Record> for Log {
    fn from(record: &Record) -> Self {
        let fields = record.fields.iter().map(|(key, value)| (key.clone(), value.to_json())).collect();
        Self { level: record.level.clone(), text: record.name.clone(), fields }
    }
}
