//! The engines behind what plugins use: a host's references to their addresses, and what its instances are told. Pure.

use crate::world::{ValueRef, Values};
use rockstar_core::backends::{self, MISSING};
use rockstar_crds::{
    PluginHostSpec,
    host::{Backend, UrlFrom},
};
use rockstar_proto::{control::Backends, types};
use serde_json::{Map, Value};

/// References to values that the host needs.
pub(super) fn references(spec: &PluginHostSpec) -> Vec<ValueRef> {
    let engines = engines(spec).into_iter().filter_map(|(_, at)| at.map(address_ref));
    engines.chain(config_ref(spec)).collect()
}

/// For the snapshot. A service whose address is not there is not embedded instead: what is written would be elsewhere. An
/// instance that has an address keeps it.
pub(super) fn told(spec: &PluginHostSpec, values: &Values) -> Option<Backends> {
    spec.backends.as_ref()?;
    let [database_url, cache_url, storage_url, events_url] = engines(spec).map(|(field, at)| {
        let address = at.map(|at| address(field, at, values));
        address.map_or_else(String::new, |found| found.unwrap_or_else(|fault| format!("{MISSING}{fault}")))
    });
    let configuration = config(spec, values);
    let unread =
        engines(spec).into_iter().filter(|(field, at)| at.is_some_and(|at| address(field, at, values).is_err()));
    let unread = unread.map(|(field, _)| field).chain(configuration.is_err().then_some("config"));
    let kept = unread.map(str::to_owned).collect();
    let config = Some(types::Map::from(&configuration.unwrap_or_default()));
    let event_overflow = spec.event_overflow().name().to_owned();
    Some(Backends { database_url, cache_url, storage_url, events_url, config, event_overflow, kept })
}

/// The PostgreSQL role of both database and storage.
pub(super) fn shared_role(spec: &PluginHostSpec, values: &Values) -> Option<String> {
    let [database, _, storage, _] =
        engines(spec).map(|(field, engine)| engine.and_then(|engine| address(field, engine, values).ok()));
    backends::shared_role(database.as_deref(), storage.as_deref())
}

/// What is missing, in words.
pub(super) fn faults(spec: &PluginHostSpec, values: &Values) -> Vec<String> {
    let engines = engines(spec).into_iter().filter_map(|(field, at)| address(field, at?, values).err());
    engines.chain(config(spec, values).err()).collect()
}

fn engines(spec: &PluginHostSpec) -> [(&'static str, Option<&UrlFrom>); 4] {
    let backends = spec.backends.as_ref();
    let of = |pick: fn(&rockstar_crds::host::Backends) -> &Option<Backend>| {
        backends.and_then(|b| pick(b).as_ref()).map(|engine| &engine.url_from)
    };
    let events = backends.and_then(|b| b.events.as_ref()?.url_from.as_ref());
    [
        ("database", of(|b| &b.database)),
        ("cache", of(|b| &b.cache)),
        ("storage", of(|b| &b.storage)),
        ("events", events),
    ]
}

fn address_ref(at: &UrlFrom) -> ValueRef {
    ValueRef::Secret(at.secret_key_ref.clone())
}

fn address(field: &str, at: &UrlFrom, values: &Values) -> Result<String, String> {
    let found = values.get(&address_ref(at)).cloned().unwrap_or_else(|| Err("not read yet".into()));
    let found = found.map_err(|fault| format!("spec.backends.{field}: {fault}"))?;
    match found.trim() {
        "" => Err(format!("spec.backends.{field}: the address is empty")),
        address => Ok(address.to_owned()),
    }
}

fn config_ref(spec: &PluginHostSpec) -> Option<ValueRef> {
    let config = spec.backends.as_ref()?.config.as_ref()?;
    Some(ValueRef::WholeConfigMap(config.config_map_ref.name.clone()))
}

fn config(spec: &PluginHostSpec, values: &Values) -> Result<Map<String, Value>, String> {
    let Some(at) = config_ref(spec) else { return Ok(Map::new()) };
    let found = values.get(&at).cloned().unwrap_or_else(|| Err("not read yet".into()));
    let read = |text: String| {
        let entries = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        backends::configuration(&entries).map_err(|e| e.to_string())
    };
    found.and_then(read).map_err(|fault| format!("spec.backends.config: {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_crds::plugin::KeyRef;
    use serde_json::json;

    fn spec() -> PluginHostSpec {
        let secret = json!({"urlFrom": {"secretKeyRef": {"name": "db", "key": "url"}}});
        let events = json!({"overflow": "DropOldest"});
        let backends = json!({"database": secret, "events": events, "config": {"configMapRef": {"name": "app"}}});
        serde_json::from_value(json!({"framework": {"version": "1.5.0"}, "backends": backends})).unwrap()
    }

    fn values(secret: Result<&str, &str>, config: Result<&str, &str>) -> Values {
        let owned = |value: Result<&str, &str>| value.map(str::to_owned).map_err(str::to_owned);
        let at = ValueRef::Secret(KeyRef { name: "db".into(), key: "url".into() });
        [(at, owned(secret)), (ValueRef::WholeConfigMap("app".into()), owned(config))].into()
    }

    #[test]
    fn addresses_and_configuration_are_told_as_they_are_now() {
        let values = values(Ok("postgres://x\n"), Ok(r#"{"database.host": "db", "app.yaml": "a: {b: 1}"}"#));
        let told = told(&spec(), &values).unwrap();
        let addresses = (told.database_url.as_str(), told.cache_url.as_str(), told.events_url.as_str());
        assert_eq!((addresses, told.event_overflow.as_str()), (("postgres://x", "", ""), "drop_oldest"));
        let config = Value::Object(told.config.unwrap().to_json());
        assert_eq!(config, json!({"database": {"host": "db"}, "a": {"b": 1}}));
        assert_eq!(references(&spec()).len(), 2);
        assert!(faults(&spec(), &values).is_empty());
    }

    #[test]
    fn what_is_missing_is_said_and_not_replaced_by_something_else() {
        let values = values(Err("Secret shop/db not found"), Err("ConfigMap shop/app not found"));
        let fault = "spec.backends.database: Secret shop/db not found";
        assert_eq!(faults(&spec(), &values), [fault, "spec.backends.config: ConfigMap shop/app not found"]);
        assert_eq!(told(&spec(), &values).unwrap().database_url, format!("{MISSING}{fault}"));
    }

    #[test]
    fn without_backends_nothing_is_told() {
        let spec = PluginHostSpec::of("1.5.0");
        assert_eq!(told(&spec, &Values::new()), None);
        assert!(references(&spec).is_empty() && faults(&spec, &Values::new()).is_empty());
    }
}
