//! Changes that hooks make: put into force for the hooks after them, and added up for the application. Pure.

use rockstar_proto::{
    path::normalize,
    types::{Change, ContextValue, Header, Request, Response},
};

/// Adds a later change to an earlier one, so that the sum does what both do in turn. Values are kept elsewhere.
pub(super) fn merge(sum: &mut Change, change: &Change) {
    for name in &change.remove {
        forget(sum, name);
        sum.remove.push(name.clone());
    }
    for header in &change.set {
        forget(sum, &header.name);
        sum.set.push(header.clone());
    }
    sum.add.extend_from_slice(&change.add);
    sum.path = change.path.clone().or(sum.path.take());
    sum.status = change.status.or(sum.status);
    sum.body = change.body.clone().or(sum.body.take());
}

fn forget(sum: &mut Change, name: &str) {
    sum.set.retain(|h| h.name != name);
    sum.add.retain(|h| h.name != name);
    sum.remove.retain(|n| n != name);
}

pub(super) fn apply_to_request(request: &mut Request, change: &Change) {
    apply_to_headers(&mut request.headers, change);
    if let Some(path) = &change.path {
        let (path, query) = path.split_once('?').map_or((path.as_str(), None), |(p, q)| (p, Some(q)));
        request.normal_path = normalize(path).into_owned();
        request.path = path.into();
        request.query = query.map_or_else(|| std::mem::take(&mut request.query), str::to_owned);
    }
    if change.body.is_some() {
        request.body.clone_from(&change.body);
    }
}

pub(super) fn apply_to_response(response: &mut Response, change: &Change) {
    apply_to_headers(&mut response.headers, change);
    response.status = change.status.unwrap_or(response.status);
    if change.body.is_some() {
        response.body.clone_from(&change.body);
    }
}

fn apply_to_headers(headers: &mut Vec<Header>, change: &Change) {
    headers.retain(|h| !change.remove.contains(&h.name) && change.set.iter().all(|s| s.name != h.name));
    headers.extend(change.set.iter().chain(&change.add).cloned());
}

/// The change that turns one response into another, for a hook that answered with a whole one.
pub(super) fn replacing(old: &Response, new: Response) -> Change {
    let kept = |name: &str| new.headers.iter().any(|h| h.name == name);
    let remove = old.headers.iter().filter(|h| !kept(&h.name)).map(|h| h.name.clone()).collect();
    let (mut set, mut add): (Vec<Header>, Vec<Header>) = Default::default();
    for header in new.headers {
        let again = set.iter().any(|h| h.name == header.name);
        if again { add.push(header) } else { set.push(header) }
    }
    Change { set, add, remove, status: Some(new.status), body: new.body, ..Change::default() }
}

/// Sets values; who set them is the sidecar's to say.
pub(super) fn set_values(values: &mut Vec<ContextValue>, new: &[ContextValue], plugin: &str) {
    for value in new {
        values.retain(|v| v.key != value.key);
        values.push(ContextValue { set_by: plugin.to_owned(), ..value.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str) -> Header {
        Header { name: name.into(), value: value.to_owned().into() }
    }

    fn change(set: &[&str], add: &[&str], remove: &[&str]) -> Change {
        let headers =
            |names: &[&str]| names.iter().map(|n| n.split_once('=').unwrap()).map(|(n, v)| header(n, v)).collect();
        Change {
            set: headers(set),
            add: headers(add),
            remove: remove.iter().map(ToString::to_string).collect(),
            ..Change::default()
        }
    }

    #[test]
    fn a_sum_does_what_its_parts_do_in_turn() {
        let steps = [
            change(&["a=1"], &["b=1"], &[]),
            change(&[], &["a=2"], &["b"]),
            change(&["b=3"], &["b=4"], &["c"]),
            change(&["a=5"], &[], &["none"]),
        ];
        for count in 0..=steps.len() {
            let start =
                || Response { status: 200, headers: vec![header("a", "0"), header("c", "0")], ..Response::default() };
            let (mut stepwise, mut at_once, mut sum) = (start(), start(), Change::default());
            for step in &steps[..count] {
                apply_to_response(&mut stepwise, step);
                merge(&mut sum, step);
            }
            apply_to_response(&mut at_once, &sum);
            let sorted = |mut r: Response| {
                r.headers.sort_by(|a, b| (&a.name, &a.value).cmp(&(&b.name, &b.value)));
                r
            };
            assert_eq!(sorted(stepwise), sorted(at_once), "after {count} steps");
        }
    }

    #[test]
    fn a_whole_answer_leaves_nothing_of_the_old_one() {
        let old = Response { status: 200, headers: vec![header("a", "0"), header("c", "0")], ..Response::default() };
        let new = Response { status: 404, headers: vec![header("a", "1"), header("a", "2")], ..Response::default() };
        let mut result = old.clone();
        apply_to_response(&mut result, &replacing(&old, new.clone()));
        assert_eq!(result, new);
    }

    #[test]
    fn a_new_path_is_normalised() {
        let mut request = Request { path: "/a".into(), query: "q=1".into(), ..Request::default() };
        apply_to_request(&mut request, &Change { path: Some("/x/../%61dmin".into()), ..Change::default() });
        assert_eq!((request.normal_path.as_str(), request.query.as_str()), ("/admin", "q=1"));
        apply_to_request(&mut request, &Change { path: Some("/b?z=2".into()), ..Change::default() });
        assert_eq!((request.path.as_str(), request.query.as_str()), ("/b", "z=2"));
    }

    #[test]
    fn nobody_speaks_for_another_plugin() {
        let forged = ContextValue { key: "user".into(), set_by: "auth-plugin".into(), ..ContextValue::default() };
        let mut values = Vec::new();
        set_values(&mut values, std::slice::from_ref(&forged), "auth-plugin");
        set_values(&mut values, &[forged], "other");
        assert_eq!((values.len(), values[0].set_by.as_str()), (1, "other"));
    }
}
