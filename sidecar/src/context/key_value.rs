//! Answers of the services that speak of keys and values. Pure.

use bytes::Bytes;
use rockstar_proto::{
    plugin::{KeyValueReply, key_value_request::Operation},
    types::Failure,
};
use tonic::{Response, Status};

pub(super) fn found(value: Option<Bytes>) -> Response<KeyValueReply> {
    let (found, value) = (value.is_some(), value.unwrap_or_default());
    Response::new(KeyValueReply { found, value, ..KeyValueReply::default() })
}

pub(super) fn keys(keys: Vec<String>) -> Response<KeyValueReply> {
    Response::new(KeyValueReply { keys, ..KeyValueReply::default() })
}

pub(super) fn done((): ()) -> Response<KeyValueReply> {
    Response::new(KeyValueReply::default())
}

pub(super) fn failed(failure: Failure) -> Response<KeyValueReply> {
    Response::new(KeyValueReply { failure: Some(failure), ..KeyValueReply::default() })
}

pub(super) fn unknown(service: &str, operation: Operation) -> Status {
    Status::invalid_argument(format!("{service} has no {}", operation.as_str_name()))
}
