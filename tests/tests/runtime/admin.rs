//! Who may call admin where there is no pod: whoever has the token. Web pages and plugins have none.

use crate::{
    http,
    stock::admin,
    world::{World, plugin},
};
use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn started() -> World {
    World::started(&[plugin("p", json!([]))]).await
}

async fn status(world: &World, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
    http::request(admin(world), method, path, headers, body).await.status
}

#[tokio::test]
async fn all_but_a_reload_needs_the_token() {
    let world = started().await;
    let calls = [
        ("GET", "/admin/plugins"),
        ("GET", "/admin/plugins/p"),
        ("GET", "/admin/plugins/p/health"),
        ("GET", "/admin/graph"),
        ("POST", "/admin/plugins"),
        ("DELETE", "/admin/plugins/p"),
        ("PUT", "/admin/plugins/p/error-threshold"),
        ("POST", "/admin/load"),
        ("POST", "/admin/stop"),
    ];
    for (method, path) in calls {
        assert_eq!(status(&world, method, path, &[], "").await, 403, "{method} {path}");
        let wrong = [("authorization", "Bearer 0")];
        assert_eq!(status(&world, method, path, &wrong, "").await, 403, "{method} {path}");
    }
    assert_eq!(status(&world, "POST", "/admin/plugins/p/reload", &[], "").await, 200);
    let token = world.token();
    assert_eq!(status(&world, "GET", "/admin/plugins", &[token.header()], "").await, 200);
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(status(&world, "GET", path, &[], "").await, 200, "{path}");
    }
    assert_eq!(world.health("p").await.unwrap().status, "running");
}

#[tokio::test]
async fn pages_of_other_sites_are_refused_with_the_token_too() {
    let world = started().await;
    let token = world.token();
    let reload = "/admin/plugins/p/reload";
    for foreign in [
        &[("origin", "http://evil.example")][..],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site"), ("content-type", "text/plain")],
    ] {
        assert_eq!(status(&world, "POST", reload, foreign, "").await, 403, "{foreign:?}");
        let with_token = [foreign, &[token.header()]].concat();
        assert_eq!(status(&world, "POST", reload, &with_token, "").await, 403, "{foreign:?}");
        assert_eq!(status(&world, "POST", "/drain", foreign, "").await, 403, "{foreign:?}");
    }
    // A page that the sidecar itself would serve may not reload without the token.
    assert_eq!(status(&world, "POST", reload, &[("sec-fetch-site", "same-origin")], "").await, 403);
    for path in ["/admin/plugins", "/metrics", "/readyz", "/drain"] {
        for host in ["evil.example:8080", "evil:8080", "0.0.0.0:8080"] {
            let rebound = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            assert!(raw(&world, &rebound).await.starts_with("HTTP/1.1 403"), "{host} {path}");
        }
    }
    let plain = [token.header(), ("content-type", "text/plain")];
    let body = r#"{"path": "/nowhere"}"#;
    assert_eq!(status(&world, "POST", "/admin/plugins", &plain, body).await, 415);
}

async fn raw(world: &World, request: &str) -> String {
    let mut stream = TcpStream::connect(admin(world)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn half_requests_do_not_keep_others_out() {
    let world = started().await;
    let mut half = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(admin(&world)).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
        half.push(stream);
    }
    assert_eq!(status(&world, "GET", "/livez", &[], "").await, 200);
    let descriptors = fs::read_dir(format!("/proc/{}/fd", world.pid())).unwrap().count();
    assert!(descriptors < 150, "{descriptors}");
    // The last of them ends by itself.
    let mut last = half.pop().unwrap();
    last.read_to_end(&mut Vec::new()).await.ok();
}

#[tokio::test]
async fn the_token_and_the_socket_are_their_users_alone() {
    let world = started().await;
    for file in ["run/admin.token", "app.sock"] {
        let mode = fs::metadata(world.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}
