//! HTTP heads and the wire's messages, one into the other, and changes put into force. Pure.

use crate::values::Peer;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE},
    request, response,
    uri::PathAndQuery,
};
use rockstar_proto::{
    path::normalize,
    types::{self, Body, Change, Header},
};

/// The body of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Whole(Bytes),
    /// To be asked for by its id. The size in bytes, 0 where it is not known.
    Transfer(u64, u64),
}

impl Content {
    const fn size(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Transfer(_, 0) => None,
            Self::Transfer(_, size) => Some(*size),
        }
    }
}

pub(crate) fn request(head: &request::Parts, body: Option<Body>) -> types::Request {
    let path = head.uri.path();
    types::Request {
        method: head.method.as_str().into(),
        path: path.into(),
        normal_path: normalize(path).into_owned(),
        query: head.uri.query().unwrap_or_default().into(),
        authority: authority(head).unwrap_or_default().into(),
        scheme: head.uri.scheme_str().unwrap_or("http").into(),
        peer: head.extensions.get::<Peer>().map(|p| p.0.to_string()).unwrap_or_default(),
        headers: headers(&head.headers),
        body,
        parameters: Vec::new(),
    }
}

fn authority(head: &request::Parts) -> Option<&str> {
    let from_uri = head.uri.authority().map(http::uri::Authority::as_str);
    from_uri.or_else(|| head.headers.get(HOST)?.to_str().ok())
}

pub(crate) fn response(head: &response::Parts, body: Option<Bytes>) -> types::Response {
    types::Response {
        status: head.status.as_u16().into(),
        headers: headers(&head.headers),
        body: body.map(Body::whole),
        trailers: Vec::new(),
    }
}

fn headers(map: &HeaderMap) -> Vec<Header> {
    let header = |(name, value): (&HeaderName, &HeaderValue)| Header {
        name: name.as_str().into(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    map.iter().map(header).collect()
}

fn content(body: Option<Body>) -> Option<Content> {
    let Body { size, body } = body?;
    Some(match body? {
        types::body::Body::Whole(bytes) => Content::Whole(bytes),
        types::body::Body::Transfer(id) => Content::Transfer(id, size),
    })
}

/// A whole response of a plugin or of the sidecar.
pub(crate) fn answer(message: types::Response) -> http::Response<Content> {
    let body = content(message.body).unwrap_or_else(|| Content::Whole(Bytes::new()));
    let mut response = http::Response::new(body);
    *response.status_mut() = status(message.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for header in message.headers {
        if let Some((name, value)) = parsed(header) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Changes the request's head. Gives the new body, if there is one.
pub(crate) fn change_request(head: &mut request::Parts, change: Change) -> Option<Content> {
    if let Some(uri) = change.path.as_deref().and_then(|path| moved(&head.uri, path)) {
        head.uri = uri;
    }
    changed(&mut head.headers, change.set, change.add, &change.remove, change.body)
}

/// Changes the response's head. Gives the new body, if there is one.
pub(crate) fn change_response(head: &mut response::Parts, change: Change) -> Option<Content> {
    if let Some(status) = change.status.and_then(status) {
        head.status = status;
    }
    changed(&mut head.headers, change.set, change.add, &change.remove, change.body)
}

fn status(code: u32) -> Option<StatusCode> {
    StatusCode::from_u16(u16::try_from(code).ok()?).ok()
}

/// The same address with another path; the query stays unless the new path has its own.
fn moved(uri: &Uri, path: &str) -> Option<Uri> {
    let wanted = match uri.query() {
        Some(query) if !path.contains('?') => format!("{path}?{query}"),
        _ => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(wanted.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

fn changed(
    map: &mut HeaderMap,
    set: Vec<Header>,
    add: Vec<Header>,
    remove: &[String],
    body: Option<Body>,
) -> Option<Content> {
    for name in remove.iter().filter_map(|n| n.parse::<HeaderName>().ok()).filter(|n| !is_framing(n)) {
        map.remove(name);
    }
    for (name, value) in set.into_iter().filter_map(parsed) {
        map.insert(name, value);
    }
    for (name, value) in add.into_iter().filter_map(parsed) {
        map.append(name, value);
    }
    let content = content(body)?;
    map.remove(TRANSFER_ENCODING);
    map.remove(CONTENT_LENGTH);
    if let Some(size) = content.size() {
        map.insert(CONTENT_LENGTH, HeaderValue::from(size));
    }
    Some(content)
}

/// What HTTP cannot carry is left out.
fn parsed(header: Header) -> Option<(HeaderName, HeaderValue)> {
    let name: HeaderName = header.name.parse().ok()?;
    let value = HeaderValue::from_maybe_shared(header.value).ok()?;
    (!is_framing(&name)).then_some((name, value))
}

/// The connection's own: how a message is framed is not a plugin's to say.
fn is_framing(name: &HeaderName) -> bool {
    [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE].contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str) -> Header {
        Header { name: name.into(), value: value.to_owned().into() }
    }

    fn head(uri: &str) -> request::Parts {
        let request = http::Request::builder().uri(uri).header("x-a", "1").header("x-b", "2").body(());
        request.unwrap().into_parts().0
    }

    #[test]
    fn a_head_goes_out_whole() {
        let message = request(&head("/x/../%61?q=1"), None);
        assert_eq!((message.path.as_str(), message.normal_path.as_str()), ("/x/../%61", "/a"));
        assert_eq!((message.query.as_str(), message.headers.len()), ("q=1", 2));
    }

    #[test]
    fn changes_keep_to_what_http_can_carry() {
        let mut head = head("/a?q=1");
        let change = Change {
            set: vec![header("x-a", "new"), header("bad name", "x"), header("x-c", "line\nbreak")],
            add: vec![header("x-b", "3"), header("content-length", "7")],
            remove: vec!["x-none".into()],
            path: Some("/b".into()),
            ..Change::default()
        };
        assert_eq!(change_request(&mut head, change), None);
        assert_eq!((head.uri.to_string().as_str(), head.headers["x-a"].to_str().unwrap()), ("/b?q=1", "new"));
        assert_eq!((head.headers.get_all("x-b").iter().count(), head.headers.len()), (2, 3));
    }

    #[test]
    fn a_new_body_brings_its_length() {
        let mut head =
            http::Response::builder().header("transfer-encoding", "chunked").body(()).unwrap().into_parts().0;
        let change = Change { body: Some(Body::whole("abc")), status: Some(404), ..Change::default() };
        assert_eq!(change_response(&mut head, change), Some(Content::Whole("abc".into())));
        assert_eq!((head.status, head.headers["content-length"].to_str().unwrap()), (StatusCode::NOT_FOUND, "3"));
        assert!(!head.headers.contains_key("transfer-encoding"));
    }
}
