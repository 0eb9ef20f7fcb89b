//! What a registry answers: whether it gives what was asked for, and no more of it than is read. Talks HTTP.

use super::super::{ArtifactError, transfer::unavailable};
use reqwest::{Response, StatusCode};
use rockstar_core::text::bounded;
use serde::Deserialize;

/// Bytes of an answer that says why not; the rest is not read.
const MAX_REFUSAL: usize = 64 << 10;
/// Bytes of what the registry says about it, in texts of failures.
const MAX_SHOWN: usize = 256;

/// Codes of the specification.
const ABSENT: [&str; 5] = ["BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NOT_FOUND"];
const DENIED: [&str; 2] = ["UNAUTHORIZED", "DENIED"];

#[derive(Debug, Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    errors: Vec<Problem>,
}

#[derive(Debug, Deserialize)]
struct Problem {
    code: String,
    #[serde(default)]
    message: Option<String>,
}

/// The answer, if it gives what was asked for.
pub(super) async fn accepted(image: &str, response: Response) -> Result<Response, ArtifactError> {
    match response.status() {
        StatusCode::OK => Ok(response),
        status => {
            let (body, _) = read(image, response, MAX_REFUSAL).await.unwrap_or_default();
            Err(refused(image, status, &body))
        }
    }
}

/// Reads so much of a body; tells whether that is all of it.
pub(super) async fn read(image: &str, mut response: Response, limit: usize) -> Result<(Vec<u8>, bool), ArtifactError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unavailable(image, error))? {
        let room = limit - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if chunk.len() > room {
            return Ok((body, false));
        }
    }
    Ok((body, true))
}

/// Who is to blame for an answer that gives nothing.
fn refused(image: &str, status: StatusCode, body: &[u8]) -> ArtifactError {
    let from = image.to_owned();
    let told = serde_json::from_slice::<Refusal>(body).unwrap_or_default().errors;
    let has = |codes: &[&str]| status.is_client_error() && told.iter().any(|p| codes.contains(&p.code.as_str()));
    let cause = cause(status, told.first());
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ArtifactError::Denied { from, cause },
        _ if has(&ABSENT) => ArtifactError::NotFound(from),
        _ if has(&DENIED) => ArtifactError::Denied { from, cause },
        StatusCode::NOT_FOUND => ArtifactError::NotFound(from),
        _ => ArtifactError::Unavailable { from, cause },
    }
}

fn cause(status: StatusCode, told: Option<&Problem>) -> String {
    let text = told.map(|problem| match problem.message.as_deref() {
        Some(message) if !message.is_empty() => format!("{}: {message}", problem.code),
        _ => problem.code.clone(),
    });
    match text {
        Some(text) => format!("the server answered {status}: {}", bounded(&text, MAX_SHOWN)),
        None => format!("the server answered {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Class::{Environment, Revision};

    #[test]
    fn what_the_registry_says_tells_who_is_to_blame() {
        let code = |code: &str| format!(r#"{{"errors": [{{"code": "{code}"}}]}}"#);
        let cases = [
            (404, String::new(), Revision, "ArtifactNotFound"),
            (404, "[".to_owned(), Revision, "ArtifactNotFound"),
            (400, code("MANIFEST_UNKNOWN"), Revision, "ArtifactNotFound"),
            (404, code("DENIED"), Environment, "ArtifactAccessDenied"),
            (503, String::new(), Environment, "ArtifactUnavailable"),
            (503, code("MANIFEST_UNKNOWN"), Environment, "ArtifactUnavailable"),
            (204, String::new(), Environment, "ArtifactUnavailable"),
            (429, code("TOOMANYREQUESTS"), Environment, "ArtifactUnavailable"),
            (400, code("DENIED"), Environment, "ArtifactAccessDenied"),
            (401, code("MANIFEST_UNKNOWN"), Environment, "ArtifactAccessDenied"),
            (403, String::new(), Environment, "ArtifactAccessDenied"),
        ];
        for (status, body, class, reason) in cases {
            let error = refused("x", StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!((error.class(), error.reason()), (class, reason), "{status} {body}");
        }
    }

    #[test]
    fn what_it_says_is_cut_and_forges_no_line() {
        let body = format!(r#"{{"errors": [{{"code": "X", "message": "a\nb{}"}}]}}"#, "c".repeat(60 << 10));
        let text = refused("x", StatusCode::BAD_GATEWAY, body.as_bytes()).to_string();
        assert!(text.starts_with("failed to download x: the server answered 502 Bad Gateway: X: a"), "{text}");
        assert!(text.len() < 512 && !text.contains('\n'), "{text}");
    }
}
