//! Whose stream it is: a token's pod, by TokenReview, or as a world says. I/O: the API server.

use crate::host::HostKey;
use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::{Api, api::PostParams};
use rockstar_crds::names::TOKEN_AUDIENCE;
use serde::Deserialize;
use std::time::Duration;

const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// One pod, as its token proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("the token was refused: {0}")]
    Refused(String),
    #[error("the token is not bound to a pod; mount a projected service account token")]
    NotAPod,
    #[error("failed to review the token: {0}")]
    Review(#[source] Box<kube::Error>),
    #[error("failed to review the token: the API server did not answer within {} s", REVIEW_TIMEOUT.as_secs())]
    Timeout,
}

/// Tells whose a token is.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    async fn identify(&self, token: &str) -> Result<Identity, IdentityError>;

    /// Whose the token says it is, which proves nothing: it tells only in which queue its bearer waits.
    fn claimed(&self, _token: &str) -> Option<Identity> {
        None
    }
}

/// Tells which host a pod belongs to.
pub trait Membership: Send + Sync + 'static {
    /// None: no such pod is known (yet), or it has no host.
    fn host_of(&self, pod: &Identity) -> Option<HostKey>;
}

/// Asks the API server.
#[derive(Clone)]
pub struct TokenReviews {
    api: Api<TokenReview>,
}

impl std::fmt::Debug for TokenReviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenReviews")
    }
}

impl TokenReviews {
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { api: Api::all(client) }
    }
}

#[async_trait]
impl Authenticator for TokenReviews {
    async fn identify(&self, token: &str) -> Result<Identity, IdentityError> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let params = PostParams::default();
        let created = tokio::time::timeout(REVIEW_TIMEOUT, self.api.create(&params, &review)).await;
        identity_of(created.map_err(|_| IdentityError::Timeout)?.map_err(|e| IdentityError::Review(Box::new(e)))?)
    }

    fn claimed(&self, token: &str) -> Option<Identity> {
        let payload = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claims: Claims = serde_json::from_slice(&payload).ok()?;
        let Bound { namespace, pod } = claims.kubernetes;
        Some(Identity { namespace, pod: pod.name, uid: pod.uid })
    }
}

/// What a service account token says that is bound to a pod.
#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: Bound,
}

#[derive(Deserialize)]
struct Bound {
    namespace: String,
    pod: BoundPod,
}

#[derive(Deserialize)]
struct BoundPod {
    name: String,
    uid: String,
}

fn identity_of(review: TokenReview) -> Result<Identity, IdentityError> {
    let status = review.status.unwrap_or_default();
    let for_us = status.audiences.is_some_and(|a| a.iter().any(|a| a == TOKEN_AUDIENCE));
    if status.authenticated != Some(true) || !for_us {
        return Err(IdentityError::Refused(
            status.error.unwrap_or_else(|| "not authenticated for this audience".into()),
        ));
    }
    pod_of(&status.user.unwrap_or_default()).ok_or(IdentityError::NotAPod)
}

fn pod_of(user: &UserInfo) -> Option<Identity> {
    let mut account = user.username.as_deref()?.strip_prefix("system:serviceaccount:")?.split(':');
    let extra = |key| user.extra.as_ref()?.get(key)?.first().cloned();
    Some(Identity { namespace: account.next()?.to_owned(), pod: extra(POD_NAME)?, uid: extra(POD_UID)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn review(status: serde_json::Value) -> TokenReview {
        serde_json::from_value(json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {}, "status": status}))
            .unwrap()
    }

    #[test]
    fn a_bound_token_names_its_pod() {
        let user = json!({"username": "system:serviceaccount:shop:default",
            "extra": {"authentication.kubernetes.io/pod-name": ["web-1"], "authentication.kubernetes.io/pod-uid": ["u1"]}});
        let status = json!({"authenticated": true, "audiences": [TOKEN_AUDIENCE], "user": user});
        let expected = Identity { namespace: "shop".into(), pod: "web-1".into(), uid: "u1".into() };
        assert_eq!(identity_of(review(status)).unwrap(), expected);
    }

    #[test]
    fn others_are_refused() {
        let refused = json!({"authenticated": false, "error": "expired"});
        assert_eq!(identity_of(review(refused)).unwrap_err().to_string(), "the token was refused: expired");
        let other_audience =
            json!({"authenticated": true, "audiences": ["x"], "user": {"username": "system:serviceaccount:a:b"}});
        assert!(matches!(identity_of(review(other_audience)), Err(IdentityError::Refused(_))));
        let no_pod = json!({"authenticated": true, "audiences": [TOKEN_AUDIENCE], "user": {"username": "system:serviceaccount:a:b"}});
        assert!(matches!(identity_of(review(no_pod)), Err(IdentityError::NotAPod)));
    }

    #[tokio::test]
    async fn a_token_claims_its_pod() {
        let reviews = TokenReviews::new(kube::Client::new(
            tower::service_fn(async |_: http::Request<kube::client::Body>| {
                Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::empty()))
            }),
            "default",
        ));
        let token =
            |claims: serde_json::Value| format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        let bound = json!({"kubernetes.io": {"namespace": "shop", "pod": {"name": "web-1", "uid": "u1"}, "node": {}}});
        let expected = Identity { namespace: "shop".into(), pod: "web-1".into(), uid: "u1".into() };
        assert_eq!(reviews.claimed(&token(bound)), Some(expected));
        assert_eq!(reviews.claimed(&token(json!({"kubernetes.io": {"namespace": "shop"}}))), None);
        assert_eq!(reviews.claimed("opaque"), None);
    }
}
