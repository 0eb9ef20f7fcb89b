//! Lists whose members have names, as pods have them. Pure.

use serde_json::{Map, Value};

/// The member of an object, made if it is missing or null.
pub(super) fn entry<'a>(parent: &'a mut Map<String, Value>, key: &str, make: impl FnOnce() -> Value) -> &'a mut Value {
    let member = parent.entry(key).or_insert(Value::Null);
    if member.is_null() {
        *member = make();
    }
    member
}

/// Replaces the member of that name, or adds it at the end.
pub(super) fn upsert(list: &mut Vec<Value>, new: Value) {
    match list.iter().position(|old| old["name"] == new["name"]) {
        Some(place) => list[place] = new,
        None => list.push(new),
    }
}

/// Replaces the member of that name; it is the first afterwards.
pub(super) fn put_first(list: &mut Vec<Value>, new: Value) {
    list.retain(|old| old["name"] != new["name"]);
    list.insert(0, new);
}
