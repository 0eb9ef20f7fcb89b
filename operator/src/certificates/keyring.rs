//! The certificates and keys, as they are kept in the Secret. Pure.

use std::collections::BTreeMap;
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    pem::parse_x509_pem,
    prelude::X509Certificate,
};

/// A certificate with its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// The authority that signs next; its certificate is handed out before it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Staged {
    pub(super) pair: Pair,
    /// Since when it is handed out, in seconds since the epoch.
    pub(super) since: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keyring {
    pub(super) authority: Pair,
    pub(super) next: Option<Staged>,
    /// The certificate of the authority before; replicas may still serve what it signed.
    pub(super) previous: Option<String>,
    pub(super) leaf: Pair,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum KeyringError {
    #[error("the key {0} is missing or no text")]
    Missing(&'static str),
    #[error("{0} is no certificate")]
    NoCertificate(&'static str),
}

const AUTHORITY: [&str; 2] = ["authority.crt", "authority.key"];
const NEXT: [&str; 2] = ["next.crt", "next.key"];
const NEXT_SINCE: &str = "next.since";
const PREVIOUS: &str = "previous.crt";
const LEAF: [&str; 2] = ["tls.crt", "tls.key"];

impl Keyring {
    /// Whom to trust.
    pub(super) fn bundle(&self) -> String {
        let next = self.next.as_ref().map(|staged| staged.pair.certificate.as_str());
        let certificates = [Some(self.authority.certificate.as_str()), next, self.previous.as_deref()];
        certificates.into_iter().flatten().collect()
    }

    pub(super) fn to_data(&self) -> BTreeMap<String, String> {
        let mut data = BTreeMap::new();
        put(&mut data, AUTHORITY, &self.authority);
        put(&mut data, LEAF, &self.leaf);
        if let Some(staged) = &self.next {
            put(&mut data, NEXT, &staged.pair);
            data.insert(NEXT_SINCE.into(), staged.since.to_string());
        }
        if let Some(previous) = &self.previous {
            data.insert(PREVIOUS.into(), previous.clone());
        }
        data
    }

    pub(super) fn from_data(data: &BTreeMap<String, String>) -> Result<Self, KeyringError> {
        let next = data.get(NEXT_SINCE).and_then(|since| since.parse().ok());
        let next = next.map(|since| Ok(Staged { pair: take(data, NEXT)?, since })).transpose()?;
        let previous = data.get(PREVIOUS).cloned();
        let keyring = Self { authority: take(data, AUTHORITY)?, next, previous, leaf: take(data, LEAF)? };
        keyring.check()?;
        Ok(keyring)
    }

    fn check(&self) -> Result<(), KeyringError> {
        let next = self.next.as_ref().map(|staged| (NEXT[0], &staged.pair.certificate));
        let previous = self.previous.as_ref().map(|certificate| (PREVIOUS, certificate));
        let own = [(AUTHORITY[0], &self.authority.certificate), (LEAF[0], &self.leaf.certificate)];
        let mut all = own.into_iter().chain(next).chain(previous);
        let unreadable = all.find(|(_, certificate)| read(certificate, |_| ()).is_none());
        unreadable.map_or(Ok(()), |(name, _)| Err(KeyringError::NoCertificate(name)))
    }
}

fn put(data: &mut BTreeMap<String, String>, [certificate, key]: [&str; 2], pair: &Pair) {
    data.insert(certificate.into(), pair.certificate.clone());
    data.insert(key.into(), pair.key.clone());
}

fn take(data: &BTreeMap<String, String>, [certificate, key]: [&'static str; 2]) -> Result<Pair, KeyringError> {
    let text = |name| data.get(name).cloned().ok_or(KeyringError::Missing(name));
    Ok(Pair { certificate: text(certificate)?, key: text(key)? })
}

fn read<T>(pem: &str, take: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let (_, block) = parse_x509_pem(pem.as_bytes()).ok()?;
    block.parse_x509().ok().map(|certificate| take(&certificate))
}

/// When a certificate ends, in seconds since the epoch; an unreadable one has ended.
pub(super) fn ends(pem: &str) -> i64 {
    read(pem, |certificate| certificate.validity().not_after.timestamp()).unwrap_or_default()
}

/// The DNS names that a certificate is for.
pub(super) fn names(pem: &str) -> Vec<String> {
    let of = |certificate: &X509Certificate<'_>| {
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.into_iter().flat_map(|extension| &extension.value.general_names);
        names.filter_map(dns).collect()
    };
    read(pem, of).unwrap_or_default()
}

fn dns(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    }
}

/// Whether the authority's key signed the certificate, by the identifiers of the keys.
pub(super) fn signed_by(pem: &str, authority: &str) -> bool {
    let signer = read(pem, |certificate| identifier(certificate, false)).flatten();
    signer.is_some() && signer == read(authority, |certificate| identifier(certificate, true)).flatten()
}

fn identifier(certificate: &X509Certificate<'_>, own: bool) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) if own => Some(id.0.to_vec()),
        ParsedExtension::AuthorityKeyIdentifier(id) if !own => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    })
}
