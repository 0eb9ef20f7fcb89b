//! What goes into the header `Authorization`. Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use oci_client::secrets::RegistryAuth;
use reqwest::header::HeaderValue;

/// User and password, where there are some.
pub(super) fn basic(auth: &RegistryAuth) -> Option<HeaderValue> {
    match auth {
        RegistryAuth::Basic(user, password) => {
            header(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
        }
        RegistryAuth::Anonymous | RegistryAuth::Bearer(_) => None,
    }
}

/// A value that debugging does not show; none: no header can hold it.
pub(super) fn header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
