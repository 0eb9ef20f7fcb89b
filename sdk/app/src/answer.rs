//! The answers that the layer itself gives: JSON, as plugins give theirs. Pure.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::json;

/// An error as JSON.
pub(crate) fn error(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(json!({ "error": text }).to_string().into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
