//! Schemas that cannot be derived, and the rules of expressions used in many places. Pure.

use rockstar_core::limits::{Limit, Unit};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// The permissions as a list in CEL.
const PERMISSIONS: &str = "['database', 'cache', 'router', 'config', 'filesystem', 'network', 'exec']";

fn rule(rule: &str, message: &str) -> Value {
    json!({"rule": rule, "message": message})
}

pub(crate) fn duration() -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [rule(
            r"self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$')",
            "must be a duration like 30s, 5m, 1h30m or 100ms",
        )],
    })
}

/// An object whose keys nobody knows before; all that is in it is kept.
pub(crate) fn free_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Any value at all.
pub(crate) fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// Permissions as a map: name to whether it is given.
pub(crate) fn permissions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "boolean"},
        "x-kubernetes-validations": [{
            "rule": format!("self.all(name, name in {PERMISSIONS})"),
            "messageExpression": format!("'unknown permission: ' + self.filter(name, !(name in {PERMISSIONS}))[0]"),
        }],
    })
}

/// Permissions as a list of names.
pub(crate) fn permission_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "maxLength": 64},
        "x-kubernetes-validations": [{
            "rule": format!("self.all(name, name in {PERMISSIONS})"),
            "messageExpression": format!("'unknown permission: ' + self.filter(name, !(name in {PERMISSIONS}))[0]"),
        }],
    })
}

/// A number of instances, or a percentage of them.
pub(crate) fn count_or_percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "x-kubernetes-validations": [rule(
            "string(self).matches('^([0-9]{1,9}|(100|[0-9]{1,2})%)$')",
            "must be a number that is not negative, or a percentage like 25%",
        )],
    })
}

pub(crate) fn memory(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "x-kubernetes-validations": [rule(
            "isQuantity(string(self)) && quantity(string(self)).isGreaterThan(quantity('0'))",
            "must be an amount of memory like 100Mi",
        )],
    })
}

/// Gives each field of limits the range that it has, and keeps unknown names: the webhook and the operator refuse them.
pub(crate) fn limits(schema: &mut Schema) {
    schema.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
    let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for limit in Limit::ALL {
        let Some(field) = fields.get_mut(limit.name()).and_then(Value::as_object_mut) else { continue };
        let (least, most) = limit.range();
        let (first, last) = (limit.format(least), limit.format(most));
        if let Some(Value::String(description)) = field.get_mut("description") {
            description.push_str(&format!(" From {first} to {last}."));
        }
        if limit.unit() == Unit::Count {
            field.extend([("minimum".to_owned(), json!(least)), ("maximum".to_owned(), json!(most))]);
            continue;
        }
        let (rules, what) = match limit.unit() {
            Unit::Milliseconds => (
                format!("duration(self) >= duration('{}ms') && duration(self) <= duration('{}ms')", least, most),
                "a duration",
            ),
            _ => (
                format!(
                    "isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('{first}')) && \
                     !quantity(string(self)).isGreaterThan(quantity('{last}'))"
                ),
                "an amount of bytes",
            ),
        };
        let message = format!("must be {what} from {first} to {last}");
        let others = field.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        others.as_array_mut().into_iter().for_each(|all| all.push(rule(&rules, &message)));
        if limit.unit() == Unit::Bytes {
            field.remove("x-kubernetes-preserve-unknown-fields");
            field.insert("x-kubernetes-int-or-string".to_owned(), json!(true));
        }
    }
}

/// What a container asks for and may use, as in a pod.
pub(crate) fn resources(_: &mut SchemaGenerator) -> Schema {
    let amounts = |description: &str| {
        json!({
            "type": "object",
            "description": description,
            "maxProperties": 8,
            "additionalProperties": {
                "x-kubernetes-int-or-string": true,
                "x-kubernetes-validations": [rule("isQuantity(string(self))", "must be a quantity like 100m or 64Mi")],
            },
        })
    };
    let limits = amounts("What the container may use at most, by resource.");
    let requests = amounts("What the scheduler sets aside for the container, by resource.");
    json_schema!({
        "type": "object",
        "description": "What the container asks for and may use, as in a pod.",
        "properties": {"limits": limits, "requests": requests},
    })
}

pub(crate) fn failure_policy(_: &mut SchemaGenerator) -> Schema {
    one_of(&["Closed", "Open"])
}

pub(crate) fn queue_strategy(_: &mut SchemaGenerator) -> Schema {
    one_of(&["block", "reject"])
}

pub(crate) fn threshold_action(_: &mut SchemaGenerator) -> Schema {
    one_of(&["disable", "log", "alert"])
}

fn one_of(values: &[&str]) -> Schema {
    json_schema!({"type": "string", "enum": values})
}

/// The status of an object that the operator has not seen yet: without one, kstatus takes the object for current.
pub(crate) fn not_observed() -> Value {
    json!({"observedGeneration": -1})
}

pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// The planner's memory: what people look for is drawn out, the rest is kept as it is.
pub(crate) fn rollout(_: &mut SchemaGenerator) -> Schema {
    let revisions = |description: &str| {
        json!({
            "type": "object",
            "description": description,
            "additionalProperties": {"type": "string"},
        })
    };
    let integer = |description: &str| json!({"type": "integer", "format": "int64", "description": description});
    let kept = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "planGeneration": integer("Grows with each plan that instances are told."),
            "stable": revisions("The revision of each plugin that every instance has proven, and that a failure goes back to."),
            "target": revisions("The revision of each plugin that the instances move to."),
            "failed": {
                "type": "object",
                "description": "Revisions that failed, by plugin. They are tried again when the Plugin is edited, or on demand.",
                "additionalProperties": kept,
            },
            "lastProgressAt": integer("When an instance last came closer to the target, in milliseconds since the epoch."),
        },
    })
}

/// `metav1.Condition`, one of each type, so that writers do not overwrite each other.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {"type": "string", "maxLength": 316, "description": "What is said something about, in CamelCase."},
                "status": {
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                    "description": "Whether it holds.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "The metadata.generation that the condition is about.",
                },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When the status last changed.",
                },
                "reason": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "description": "Why, as one CamelCase word for programs.",
                },
                "message": {"type": "string", "maxLength": 32768, "description": "Why, for people, and what to do."},
            },
        },
    })
}
