use super::*;
use serde_json::json;

fn key(kind: ConfigType, required: bool, default: Option<Value>) -> ConfigKey {
    ConfigKey { kind, required, default, description: String::new() }
}

fn schema(keys: impl IntoIterator<Item = (&'static str, ConfigKey)>) -> IndexMap<String, ConfigKey> {
    keys.into_iter().map(|(name, key)| (name.to_owned(), key)).collect()
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn reference() -> IndexMap<String, ConfigKey> {
    schema([
        ("api_key", key(ConfigType::String, true, None)),
        ("timeout", key(ConfigType::Duration, false, Some(json!("30s")))),
        ("max_retries", key(ConfigType::Integer, false, Some(json!(3)))),
        ("token_ttl", key(ConfigType::Duration, false, Some(json!("24h")))),
        ("refresh_enabled", key(ConfigType::Boolean, false, Some(json!(true)))),
        ("note", key(ConfigType::String, false, None)),
    ])
}

#[test]
fn defaults_are_filled_in_and_given_values_win() {
    let applied = apply(&reference(), &map(json!({"api_key": "k", "max_retries": 5, "timeout": null}))).unwrap();
    let values = json!({
        "api_key": "k", "timeout": "30s", "max_retries": 5, "token_ttl": "24h", "refresh_enabled": true
    });
    assert_eq!(applied, Applied { values: map(values), warnings: vec![] });
}

#[test]
fn a_required_key_without_value_is_refused() {
    for given in [json!({}), json!({"api_key": null})] {
        let error = apply(&reference(), &map(given)).unwrap_err();
        assert_eq!(error.to_string(), "Configuration key missing and no default value provided: api_key");
    }
    let defaulted = schema([("k", key(ConfigType::String, true, Some(json!("d"))))]);
    assert_eq!(apply(&defaulted, &Map::new()).unwrap().values, map(json!({"k": "d"})));
}

#[test]
fn unknown_keys_are_kept_with_a_warning() {
    let applied = apply(&reference(), &map(json!({"api_key": "k", "max_retires": 1, "zzz": {"a": 1}}))).unwrap();
    assert_eq!(applied.values["max_retires"], 1);
    assert_eq!(applied.values["zzz"], json!({"a": 1}));
    let mut warnings = applied.warnings;
    warnings.sort();
    let wanted =
        ["unknown configuration key 'max_retires', did you mean 'max_retries'?", "unknown configuration key 'zzz'"];
    assert_eq!(warnings, wanted);
}

#[test]
fn seven_types() {
    use ConfigType::{Array, Boolean, Duration, Float, Integer, Object, String};
    let samples = [
        (json!("text"), "string"),
        (json!(3), "integer"),
        (json!(2.5), "float"),
        (json!(true), "boolean"),
        (json!([1]), "array"),
        (json!({"a": 1}), "object"),
    ];
    let fits = |kind, found: &str| match kind {
        Duration => false,
        Float => matches!(found, "integer" | "float"),
        _ => kind.name() == found,
    };
    for kind in [String, Integer, Float, Boolean, Duration, Array, Object] {
        for (value, found) in &samples {
            let rules = schema([("k", key(kind, false, None))]);
            let given = map(json!({ "k": value }));
            let shown = if kind == Duration && *found == "string" {
                "a string that is no duration (write it like 30s or 1h30m)"
            } else {
                found
            };
            let wanted = format!("invalid configuration value: 'k' must be of type {kind}, found {shown}");
            match apply(&rules, &given) {
                Ok(applied) => assert!(fits(kind, found) && applied.values == given, "{kind} {found}"),
                Err(error) => assert!(!fits(kind, found) && error.to_string() == wanted, "{error}"),
            }
        }
    }
}

#[test]
fn durations_are_go_s() {
    let rules = schema([("k", key(ConfigType::Duration, false, None))]);
    for good in ["24h", "30s", "5m", "1h30m", "100ms"] {
        assert!(apply(&rules, &map(json!({ "k": good }))).is_ok(), "{good}");
    }
    for bad in [json!("30"), json!("1d"), json!("abc"), json!(30)] {
        assert!(apply(&rules, &map(json!({ "k": bad }))).is_err());
    }
}

#[test]
fn defaults_are_checked_too() {
    let rules = schema([("k", key(ConfigType::Integer, false, Some(json!("3"))))]);
    let text = "invalid config schema: default of 'k' must be of type integer, found string";
    assert_eq!(check_defaults(&rules).unwrap_err().to_string(), text);
    assert_eq!(apply(&rules, &Map::new()).unwrap_err().to_string(), text);
}

#[test]
fn values_are_never_shown() {
    let rules = schema([("k", key(ConfigType::Integer, false, None)), ("d", key(ConfigType::Duration, false, None))]);
    for key in ["k", "d"] {
        let error = apply(&rules, &map(json!({ key: "hunter2" }))).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
