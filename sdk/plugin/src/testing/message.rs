//! Requests and responses as a test writes and reads them. Pure.

use bytes::Bytes;
use rockstar_proto::{
    path,
    types::{self, Body, Change, ContextValue, Header, PathParameter},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// A request to the application.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub(super) message: types::Request,
    pub(super) values: Vec<ContextValue>,
}

/// What the application or a plugin answers.
#[derive(Clone, Debug, Default)]
pub struct Response(pub(super) types::Response);

impl Request {
    /// `target` is the path, with a query if there is one.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let message = types::Request {
            method: method.to_owned(),
            path: path.to_owned(),
            normal_path: path::normalize(path).into_owned(),
            query: query.to_owned(),
            authority: "localhost".to_owned(),
            scheme: "http".to_owned(),
            peer: "127.0.0.1:40000".to_owned(),
            ..types::Request::default()
        };
        Self { message, values: Vec::new() }
    }

    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    #[must_use]
    pub fn post(target: &str, body: impl Into<Bytes>) -> Self {
        Self::new("POST", target).body(body)
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.message.headers.push(header(name, value));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.message.body = Some(Body::whole(body));
        self
    }

    /// A value that the application or an earlier plugin set on the request.
    #[must_use]
    pub fn value(mut self, key: &str, value: impl Into<Value>) -> Self {
        let value = types::Value::from(&value.into()).encode();
        self.values.push(ContextValue { key: key.to_owned(), value, set_by: String::new() });
        self
    }

    /// What became of it: its path, once hooks had it.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.message.path
    }

    /// Its header of that name.
    #[must_use]
    pub fn get_header(&self, name: &str) -> Option<&str> {
        find(&self.message.headers, name)
    }

    /// Its body.
    #[must_use]
    pub fn get_body(&self) -> &[u8] {
        bytes(self.message.body.as_ref())
    }

    pub(super) fn apply(&mut self, change: Change) {
        change_headers(&mut self.message.headers, &change);
        if let Some(path) = change.path {
            self.message.normal_path = path::normalize(&path).into_owned();
            self.message.path = path;
        }
        if change.body.is_some() {
            self.message.body = change.body;
        }
    }

    /// With the parameters of the pattern, if the path fits it.
    pub(super) fn routed(&self, pattern: &str) -> Option<types::Request> {
        let parameters = matched(pattern, &self.message.normal_path)?;
        Some(types::Request { parameters, ..self.message.clone() })
    }

    pub(super) fn without_body(&self) -> types::Request {
        types::Request { body: None, ..self.message.clone() }
    }
}

impl Response {
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self(types::Response { status: status.into(), ..types::Response::default() })
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.0.headers.push(header(name, value));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.0.body = Some(Body::whole(body));
        self
    }

    #[must_use]
    pub fn status(&self) -> u16 {
        u16::try_from(self.0.status).unwrap_or_default()
    }

    #[must_use]
    pub fn get_header(&self, name: &str) -> Option<&str> {
        find(&self.0.headers, name)
    }

    #[must_use]
    pub fn get_body(&self) -> &[u8] {
        bytes(self.0.body.as_ref())
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.get_body()).unwrap_or_default()
    }

    pub(super) fn apply(&mut self, change: Change) {
        change_headers(&mut self.0.headers, &change);
        self.0.status = change.status.unwrap_or(self.0.status);
        if change.body.is_some() {
            self.0.body = change.body;
        }
    }
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.to_ascii_lowercase(), value: Bytes::copy_from_slice(value.as_bytes()) }
}

fn find<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(&found.value).ok()
}

fn bytes(body: Option<&Body>) -> &[u8] {
    body.and_then(Body::bytes).map_or(&[], |bytes| bytes)
}

fn change_headers(headers: &mut Vec<Header>, change: &Change) {
    let replaced = |header: &Header| change.set.iter().any(|new| new.name == header.name);
    headers.retain(|header| !change.remove.contains(&header.name) && !replaced(header));
    headers.extend(change.set.iter().chain(&change.add).cloned());
}

/// The values that stages set, the last of each key.
pub(super) fn readable(values: &[ContextValue]) -> BTreeMap<String, Value> {
    let json = |v: &ContextValue| types::Value::decoded(v.value.clone()).map(|v| v.to_json()).unwrap_or_default();
    values.iter().map(|v| (v.key.clone(), json(v))).collect()
}

/// `:name` stands for one segment, a last `*name` for the rest.
fn matched(pattern: &str, path: &str) -> Option<Vec<PathParameter>> {
    let parameter = |name: &str, value: &str| PathParameter { name: name.to_owned(), value: value.to_owned() };
    let (mut parameters, mut rest) = (Vec::new(), path.strip_prefix('/')?);
    for segment in pattern.strip_prefix('/')?.split('/') {
        if let Some(name) = segment.strip_prefix('*') {
            parameters.push(parameter(name, rest));
            return Some(parameters);
        }
        let (first, more) = rest.split_once('/').unwrap_or((rest, ""));
        match segment.strip_prefix(':') {
            Some(name) if !first.is_empty() => parameters.push(parameter(name, first)),
            None if segment == first => {}
            _ => return None,
        }
        rest = more;
    }
    rest.is_empty().then_some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_give_their_parameters() {
        let given = |pattern, path| {
            let pairs = matched(pattern, path)?.into_iter().map(|p| format!("{}={}", p.name, p.value));
            Some(pairs.collect::<Vec<_>>().join(" "))
        };
        assert_eq!(given("/users/:id/posts/:post", "/users/7/posts/x"), Some("id=7 post=x".into()));
        assert_eq!(given("/files/*rest", "/files/a/b"), Some("rest=a/b".into()));
        assert_eq!(given("/status", "/status"), Some(String::new()));
        for (pattern, path) in [("/status", "/other"), ("/a/:b", "/a"), ("/a", "/a/b"), ("/:a", "/")] {
            assert_eq!(given(pattern, path), None, "{pattern} {path}");
        }
    }

    #[test]
    fn changes_replace_add_and_remove_headers() {
        let mut request = Request::get("/a/../b?x=1").header("A", "1").header("B", "1");
        let set = vec![header("a", "2")];
        request.apply(Change { set, remove: vec!["b".into()], path: Some("//c".into()), ..Change::default() });
        assert_eq!((request.get_header("A"), request.get_header("b")), (Some("2"), None));
        assert_eq!((request.path(), request.message.normal_path.as_str()), ("//c", "/c"));
    }
}
