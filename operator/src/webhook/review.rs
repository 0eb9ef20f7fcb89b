//! AdmissionReviews: a request in, a response out. No I/O.

use crate::{metrics::Metrics, validation::Opinion};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, AdmissionReview},
};
use serde::de::DeserializeOwned;

pub(super) type Request = AdmissionRequest<DynamicObject>;

/// Why a request gets no opinion: the API server goes by the webhook's failure policy.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReviewError {
    #[error("the request holds no object")]
    NoObject,
    #[error("the object cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error(transparent)]
    Inject(#[from] crate::injector::InjectError),
    #[error("the patch cannot be made: {0}")]
    Patch(#[from] kube::core::admission::SerializePatchError),
    #[error(transparent)]
    Call(#[from] crate::api::CallError),
}

/// An HTTP response.
pub(super) enum Answer {
    Review(Box<AdmissionReview<DynamicObject>>),
    Failure(StatusCode, String),
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Review(review) => Json(review).into_response(),
            Self::Failure(status, text) => (status, text).into_response(),
        }
    }
}

pub(super) async fn answer(
    metrics: &Metrics,
    kind: &str,
    body: &[u8],
    opinion: impl AsyncFnOnce(&Request) -> Result<AdmissionResponse, ReviewError>,
) -> Answer {
    let request = match read(body) {
        Ok(request) => request,
        Err(text) => return Answer::Failure(StatusCode::BAD_REQUEST, text),
    };
    match opinion(&request).await {
        Ok(response) => {
            metrics.reviewed(kind, if response.allowed { "allowed" } else { "denied" });
            Answer::Review(Box::new(response.into_review()))
        }
        Err(error) => {
            metrics.reviewed(kind, "failed");
            tracing::error!(%error, kind, name = request.name, namespace = request.namespace, "no opinion on an object");
            Answer::Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
        }
    }
}

fn read(body: &[u8]) -> Result<Request, String> {
    let review: AdmissionReview<DynamicObject> =
        serde_json::from_slice(body).map_err(|error| format!("no AdmissionReview: {error}"))?;
    review.try_into().map_err(|error| format!("no AdmissionReview: {error}"))
}

/// The object as its own type.
pub(super) fn typed<K: DeserializeOwned>(object: Option<&DynamicObject>) -> Result<K, ReviewError> {
    let object = object.ok_or(ReviewError::NoObject)?;
    Ok(serde_json::from_value(serde_json::to_value(object)?)?)
}

pub(super) fn respond(request: &Request, opinion: Opinion) -> AdmissionResponse {
    let mut response = AdmissionResponse::from(request);
    if !opinion.denials.is_empty() {
        response = response.deny(opinion.denials.join("; "));
    }
    response.warnings = (!opinion.warnings.is_empty()).then_some(opinion.warnings);
    response
}
