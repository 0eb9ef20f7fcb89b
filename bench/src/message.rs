//! The request that every chain carries: ten headers, no body. Pure.

use rockstar_proto::{
    app::{AppFrame, Enter, app_frame},
    types::{Change, Header, Request},
};

fn request() -> Request {
    let header =
        |n| Header { name: format!("x-header-{n}"), value: format!("value-{n}-0123456789abcdef").into_bytes().into() };
    Request {
        method: "GET".into(),
        path: "/api/orders/42".into(),
        query: "page=2".into(),
        authority: "shop.example".into(),
        scheme: "http".into(),
        peer: "10.0.0.7:51234".into(),
        headers: (0..10).map(header).collect(),
        ..Request::default()
    }
}

/// A new exchange.
pub(crate) fn enter(id: u64) -> AppFrame {
    let enter = Enter { request: Some(request()), timeout_ms: 30_000, ..Enter::default() };
    AppFrame { id, frame: Some(app_frame::Frame::Enter(enter)), ..AppFrame::default() }
}

/// What the hook answers: one header more.
pub(crate) fn change() -> Change {
    let header = Header { name: "x-bench".into(), value: b"1".to_vec().into() };
    Change { set: vec![header], ..Change::default() }
}
