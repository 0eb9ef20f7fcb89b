//! Cache, storage, the framework's configuration and the database of the mock host. Memory only.

use super::state::{State, Statement, failure};
use bytes::Bytes;
use rockstar_proto::{
    plugin::{
        Columns, DatabaseReply, DatabaseRequest, Done, KeyValueReply, KeyValueRequest, database_reply::Reply,
        database_request::Request, key_value_request::Operation,
    },
    types::{self, Failure, List, failure::Class},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// One operation on a store of keys.
pub(super) fn operate(store: &mut BTreeMap<String, Bytes>, request: KeyValueRequest) -> KeyValueReply {
    let mut reply = KeyValueReply::default();
    match request.operation() {
        Operation::Get => {
            let value = store.get(&request.key).cloned();
            (reply.found, reply.value) = (value.is_some(), value.unwrap_or_default());
        }
        Operation::Set => drop(store.insert(request.key, request.value)),
        Operation::Delete => reply.found = store.remove(&request.key).is_some(),
        Operation::List => reply.keys = store.keys().cloned().collect(),
        Operation::Clear => store.clear(),
        Operation::Unspecified => reply.failure = Some(failure(Class::Protocol, "no such operation".into())),
    }
    reply
}

/// A key that is not in the storage is an error.
pub(super) fn stored(store: &mut BTreeMap<String, Bytes>, request: KeyValueRequest) -> KeyValueReply {
    let (get, key) = (request.operation() == Operation::Get, request.key.clone());
    let mut reply = operate(store, request);
    if get && !reply.found {
        reply.failure = Some(failure(Class::NotFound, format!("key not found: '{key}'")));
    }
    reply
}

/// The value at a dotted path.
pub(super) fn configured(framework: &Value, request: &KeyValueRequest) -> KeyValueReply {
    let found = request.key.split('.').try_fold(framework, |value, part| value.get(part));
    match found {
        Some(value) => {
            KeyValueReply { found: true, value: types::Value::from(value).encode(), ..KeyValueReply::default() }
        }
        None => refused(failure(Class::NotFound, format!("configuration key not found: '{}'", request.key))),
    }
}

pub(super) fn refused(failure: Failure) -> KeyValueReply {
    KeyValueReply { failure: Some(failure), ..KeyValueReply::default() }
}

/// What the plugin measured itself, and whatever a real host would add is left out.
pub(super) fn measured(state: &State) -> KeyValueReply {
    let metrics = Value::Object(state.metrics().into_iter().map(|(name, value)| (name, value.into())).collect());
    KeyValueReply { found: true, value: types::Value::from(&metrics).encode(), ..KeyValueReply::default() }
}

/// What the database answers to one request.
pub(super) fn answers(state: &mut State, request: DatabaseRequest) -> Vec<DatabaseReply> {
    let sequence = request.sequence;
    let replies = match request.request {
        Some(Request::Query(statement)) => {
            let sql = kept(state, statement);
            query(state, &sql)
        }
        Some(Request::Execute(statement)) => {
            kept(state, statement);
            vec![Reply::Done(Done { affected: 1, last_id: 0 })]
        }
        Some(Request::Begin(_)) => done(state, "BEGIN"),
        Some(Request::Commit(_)) => done(state, "COMMIT"),
        Some(Request::Rollback(_)) => done(state, "ROLLBACK"),
        None => vec![Reply::Failure(failure(Class::Protocol, "an empty request".into()))],
    };
    replies.into_iter().map(|reply| DatabaseReply { sequence, reply: Some(reply) }).collect()
}

fn kept(state: &mut State, statement: rockstar_proto::plugin::Statement) -> String {
    let arguments = statement.arguments.iter().map(types::Value::to_json).collect();
    state.statements.push(Statement { sql: statement.sql.clone(), arguments });
    statement.sql
}

fn done(state: &mut State, sql: &str) -> Vec<Reply> {
    state.statements.push(Statement { sql: sql.into(), arguments: Vec::new() });
    vec![Reply::Done(Done::default())]
}

fn query(state: &State, sql: &str) -> Vec<Reply> {
    let Some((columns, rows)) = state.rows.get(sql) else {
        return vec![Reply::Failure(failure(Class::Returned, format!("the test gives no rows for: {sql}")))];
    };
    let types = vec!["text".to_owned(); columns.len()];
    let row = |row: &Vec<Value>| Reply::Row(List { values: row.iter().map(types::Value::from).collect() });
    let head = Reply::Columns(Columns { names: columns.clone(), types });
    [head].into_iter().chain(rows.iter().map(row)).chain([Reply::Done(Done::default())]).collect()
}

pub(super) fn readable(store: &BTreeMap<String, Bytes>) -> BTreeMap<String, Value> {
    let json = |value: &Bytes| types::Value::decoded(value.clone()).map(|value| value.to_json()).unwrap_or_default();
    store.iter().map(|(key, value)| (key.clone(), json(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_dotted_path_leads_into_objects() {
        let framework = json!({"database": {"host": "db.example"}});
        let get =
            |key: &str| configured(&framework, &KeyValueRequest { key: key.into(), ..KeyValueRequest::default() });
        assert_eq!(types::Value::decoded(get("database.host").value).unwrap().to_json(), "db.example");
        assert_eq!(get("database.port").failure.unwrap().text, "configuration key not found: 'database.port'");
    }
}
