//! Who may call admin. In a pod, where loopback is everybody's: whoever has the token. Stand-alone too, where web pages and
//! plugins reach loopback as well; only a reload is let in without it, if a known process of this machine asks that is no
//! plugin and no browser. Does I/O.

use super::{Admin, Peer, fault, server::Requests};
use crate::peers::{self, TcpPeer};
use axum::{
    Extension,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use std::{net::IpAddr, time::Duration};
use tokio::{task::spawn_blocking, time::timeout};

/// A request's body, in bytes, and how long it may take to arrive.
const MAX_BODY: usize = 2 << 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const FETCH_SITE: &str = "sec-fetch-site";

/// Stand-alone a browser on this machine reaches all that loopback serves: what a page of another site sends is refused.
pub(super) async fn refuse_pages(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let over_loopback = peer.local.ip().to_canonical().is_loopback();
    let refused = admin.standalone.then(|| page(request.headers(), over_loopback)).flatten();
    match refused {
        Some(text) => fault(StatusCode::FORBIDDEN, text),
        None => next.run(request).await,
    }
}

/// What gives away the page of another site, in words.
fn page(headers: &HeaderMap, over_loopback: bool) -> Option<&'static str> {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST);
    let same_origin = |origin: &str| {
        let given = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        given.is_some() && given == host
    };
    let hosts = headers.get_all(header::HOST).iter().count();
    let site = headers.get(FETCH_SITE).map(|site| site.as_bytes());
    match () {
        () if hosts > 1 || host.is_some_and(|host| !is_local(host, over_loopback)) => {
            Some("this host is not served here")
        }
        () if text(header::ORIGIN).is_some_and(|origin| !same_origin(origin)) => {
            Some("pages of other origins may not call the sidecar")
        }
        () if site.is_some_and(|site| site != b"none" && site != b"same-origin") => {
            Some("pages of other sites may not call the sidecar")
        }
        () => None,
    }
}

/// Names that no foreign page can have. Addresses are such: nobody makes an address lead elsewhere. Single words are what
/// containers call each other, but over loopback they too are names that somebody's resolver made lead here.
fn is_local(host: &str, over_loopback: bool) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    match name.parse::<IpAddr>() {
        // A browser does not say of this one where its page is from.
        Ok(address) => !address.is_unspecified(),
        Err(_) if over_loopback => name.eq_ignore_ascii_case("localhost"),
        Err(_) => !name.is_empty() && !name.contains('.'),
    }
}

pub(super) async fn allowed(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    Extension(requests): Extension<Requests>,
    request: Request,
    next: Next,
) -> Response {
    let may_reload = admin.standalone && asks_for_reload(&request);
    let is_let_in = has_token(&admin, request.headers()) || (may_reload && is_known(&admin, peer).await);
    if !is_let_in {
        return fault(StatusCode::FORBIDDEN, REFUSED);
    }
    let _at_work = requests.begin();
    let (head, body) = request.into_parts();
    let Ok(Ok(body)) = timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await else {
        return fault(StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large, or does not arrive");
    };
    if admin.standalone && !body.is_empty() && !is_json(&head.headers) {
        return fault(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a request's body must be application/json");
    }
    next.run(Request::from_parts(head, Body::from(body))).await
}

const REFUSED: &str = "admin calls need the sidecar's token: it is in admin.token of its run directory";

fn has_token(admin: &Admin, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    given.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|given| admin.token.is(given))
}

/// The reference's curl: it is no browser, which says where its page comes from.
fn asks_for_reload(request: &Request) -> bool {
    let headers = request.headers();
    let from_page = headers.contains_key(header::ORIGIN) || headers.contains_key(FETCH_SITE);
    request.method() == Method::POST && is_reload(request.uri().path()) && !from_page
}

/// Whether a process of this machine asks that is found, and no plugin.
async fn is_known(admin: &Admin, peer: Peer) -> bool {
    if !peer.remote.ip().to_canonical().is_loopback() {
        return false;
    }
    let spawner = admin.manager.spawner().clone();
    let behind = spawn_blocking(move || peers::behind(peer.remote, peer.local, &spawner)).await;
    matches!(behind, Ok(TcpPeer::Other))
}

fn is_reload(path: &str) -> bool {
    let name = path.strip_prefix("/admin/plugins/").and_then(|rest| rest.strip_suffix("/reload"));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn hosts_are_addresses_localhost_or_single_words_of_a_network() {
        for host in ["127.0.0.1:8080", "[::1]:8080", "localhost", "LOCALHOST:80", "10.0.0.7"] {
            assert!(is_local(host, true) && is_local(host, false), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8080",
            "127.0.0.1.nip.io",
            "",
            ":80",
            "evil.example.",
            "0.0.0.0:80",
            "[::]:80",
        ] {
            assert!(!is_local(host, true) && !is_local(host, false), "{host}");
        }
        for host in ["sidecar:8080", "rebound"] {
            assert!(!is_local(host, true) && is_local(host, false), "{host}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_told_by_their_headers() {
        let host = ("host", "127.0.0.1:8080");
        for own in [
            &[host][..],
            &[],
            &[host, ("origin", "http://127.0.0.1:8080")],
            &[host, (FETCH_SITE, "none")],
            &[host, (FETCH_SITE, "same-origin")],
        ] {
            assert_eq!(page(&headers(own), true), None, "{own:?}");
        }
        for foreign in [
            &[host, ("origin", "http://evil.example")][..],
            &[host, ("origin", "null")],
            &[host, ("origin", "http://127.0.0.1:9090")],
            &[host, (FETCH_SITE, "cross-site")],
            &[host, (FETCH_SITE, "same-site")],
            &[("host", "evil.example:8080")],
        ] {
            assert!(page(&headers(foreign), true).is_some(), "{foreign:?}");
        }
    }

    #[test]
    fn only_a_reload_is_a_reload() {
        assert!(is_reload("/admin/plugins/p/reload"));
        for path in ["/admin/plugins/reload", "/admin/plugins//reload", "/admin/plugins/p/x/reload", "/admin/plugins/p"]
        {
            assert!(!is_reload(path), "{path}");
        }
    }
}
