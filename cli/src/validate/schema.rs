//! A value against the structural schema of a custom resource: what is of the wrong form, and what was expected. Pure.

use super::finding::Finding;
use rockstar_core::hint;
use serde_json::{Map, Value};

/// Everything that is wrong with `value`, which stands at `path`.
pub(crate) fn check(schema: &Value, value: &Value, path: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    visit(schema, value, path, &mut findings);
    findings
}

fn visit(schema: &Value, value: &Value, path: &str, out: &mut Vec<Finding>) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if !is_of_type(schema, value) {
        out.push(Finding::error(path, format!("expected {}, found {}", wanted(schema), found(value))));
        return;
    }
    if let Some(message) = broken_limit(schema, value) {
        out.push(Finding::error(path, message));
    }
    match value {
        Value::Object(fields) => visit_object(schema, fields, path, out),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                visit(&schema["items"], item, &format!("{path}[{index}]"), out);
            }
        }
        _ => {}
    }
}

fn visit_object(schema: &Value, fields: &Map<String, Value>, path: &str, out: &mut Vec<Finding>) {
    for name in required(schema).filter(|name| !fields.contains_key(*name)) {
        out.push(Finding::error(join(path, name), format!("missing required field: {name}")));
    }
    for (name, value) in fields {
        let inside = join(path, name);
        match field_schema(schema, name) {
            Some(schema) => visit(schema, value, &inside, out),
            None if keeps_unknown(schema) => {}
            None => out.push(Finding::warning(inside, unknown(name, schema))),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn field_schema<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema["properties"].get(name).or_else(|| schema.get("additionalProperties").filter(|more| more.is_object()))
}

fn keeps_unknown(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
        || schema["additionalProperties"] == true
        || schema.get("properties").is_none()
}

fn unknown(name: &str, schema: &Value) -> String {
    let known = schema["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str);
    hint::unknown("field", name, known)
}

fn is_of_type(schema: &Value, value: &Value) -> bool {
    if schema["x-kubernetes-int-or-string"] == true {
        return value.is_i64() || value.is_string();
    }
    match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => true,
    }
}

fn wanted(schema: &Value) -> String {
    if schema["x-kubernetes-int-or-string"] == true {
        return "a whole number or a text".to_owned();
    }
    match schema["type"].as_str() {
        Some("object") => "a mapping".to_owned(),
        Some("array") => "a list".to_owned(),
        Some("string") => "a text".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("integer") => "a whole number".to_owned(),
        Some("number") => "a number".to_owned(),
        _ => "another value".to_owned(),
    }
}

/// A value as it is named to people.
pub(crate) fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) => format!("the text {text:?}"),
        other => other.to_string(),
    }
}

fn broken_limit(schema: &Value, value: &Value) -> Option<String> {
    out_of_choice(schema, value).or_else(|| match value {
        Value::String(text) => broken_text(schema, text),
        Value::Number(_) => broken_number(schema, value),
        Value::Array(items) => broken_count(schema, items.len(), "Items", "items"),
        Value::Object(fields) => broken_count(schema, fields.len(), "Properties", "fields"),
        _ => None,
    })
}

fn out_of_choice(schema: &Value, value: &Value) -> Option<String> {
    let choice = schema["enum"].as_array()?;
    let names: Vec<_> = choice.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
    (!choice.contains(value)).then(|| format!("expected one of {}, found {}", names.join(", "), found(value)))
}

fn broken_text(schema: &Value, text: &str) -> Option<String> {
    let pattern = schema["pattern"].as_str().filter(|pattern| !matches(pattern, text));
    let pattern = pattern.map(|pattern| format!("expected a text of the form {pattern}, found {text:?}"));
    pattern.or_else(|| broken_count(schema, text.chars().count(), "Length", "characters"))
}

/// A pattern that this program cannot read is left to the API server.
fn matches(pattern: &str, text: &str) -> bool {
    regex::Regex::new(pattern).map_or(true, |regex| regex.is_match(text))
}

fn broken_number(schema: &Value, value: &Value) -> Option<String> {
    let (number, least, most) = (value.as_f64()?, schema["minimum"].as_f64(), schema["maximum"].as_f64());
    match (least, most) {
        (Some(least), _) if number < least => Some(format!("expected at least {least}, found {value}")),
        (_, Some(most)) if number > most => Some(format!("expected at most {most}, found {value}")),
        _ => None,
    }
}

fn broken_count(schema: &Value, count: usize, limit: &str, what: &str) -> Option<String> {
    let (least, most) = (schema[format!("min{limit}")].as_u64(), schema[format!("max{limit}")].as_u64());
    match count as u64 {
        count if least.is_some_and(|least| count < least) => Some(match least {
            Some(1) => "expected a value, found nothing".to_owned(),
            _ => format!("expected at least {} {what}, found {count}", least.unwrap_or_default()),
        }),
        count if most.is_some_and(|most| count > most) => {
            Some(format!("expected at most {} {what}, found {count}", most.unwrap_or_default()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(schema: &Value, value: &Value) -> Vec<String> {
        check(schema, value, "spec").into_iter().map(|one| format!("{}: {}", one.field, one.message)).collect()
    }

    #[test]
    fn a_wrong_type_says_what_was_expected() {
        let schema =
            json!({"type": "object", "properties": {"enabled": {"type": "boolean"}, "n": {"type": "integer"}}});
        let found = texts(&schema, &json!({"enabled": "yes", "n": 1.5}));
        assert_eq!(
            found,
            [
                "spec.enabled: expected true or false, found the text \"yes\"",
                "spec.n: expected a whole number, found 1.5"
            ]
        );
    }

    #[test]
    fn limits_are_named() {
        let schema = json!({"properties": {
            "policy": {"type": "string", "enum": ["Closed", "Open"]},
            "size": {"type": "integer", "minimum": 1, "maximum": 10},
            "digest": {"type": "string", "pattern": "^sha256:[0-9a-f]{4}$"},
            "name": {"type": "string", "minLength": 1},
            "list": {"type": "array", "maxItems": 1},
        }});
        let found = texts(&schema, &json!({"policy": "closed", "size": 11, "digest": "x", "name": "", "list": [1, 2]}));
        assert_eq!(found.len(), 5);
        assert!(found.contains(&"spec.policy: expected one of Closed, Open, found the text \"closed\"".to_owned()));
        assert!(found.contains(&"spec.size: expected at most 10, found 11".to_owned()));
        assert!(found.contains(&"spec.name: expected a value, found nothing".to_owned()));
    }

    #[test]
    fn what_is_missing_and_what_is_unknown() {
        let schema = json!({"type": "object", "required": ["host"], "properties": {"host": {"type": "string"}}});
        let found = check(&schema, &json!({"hots": "a"}), "spec");
        assert_eq!((found[0].field.as_str(), found[0].is_error()), ("spec.host", true));
        assert_eq!((found[1].field.as_str(), found[1].is_error()), ("spec.hots", false));
        assert!(found[1].message.contains("host"), "{}", found[1].message);
    }

    #[test]
    fn free_form_fields_are_free() {
        let schema =
            json!({"properties": {"config": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
        assert!(check(&schema, &json!({"config": {"a": {"b": 1}}}), "spec").is_empty());
    }
}
