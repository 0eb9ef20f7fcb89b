//! A certificate authority of the tests, with a certificate of a server on the loopback.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::{fs, path::PathBuf, sync::OnceLock};

pub(crate) struct Authority {
    directory: tempfile::TempDir,
}

impl Authority {
    /// Which all servers of this process have their certificates from.
    pub(crate) fn ours() -> &'static Self {
        static OURS: OnceLock<Authority> = OnceLock::new();
        OURS.get_or_init(Self::new)
    }

    pub(crate) fn new() -> Self {
        // Of cargo: what is static is never dropped.
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut parameters = CertificateParams::default();
        // Of a name of its own: what is unknown is told by it.
        parameters.distinguished_name.push(DnType::CommonName, directory.path().display().to_string());
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(directory.path().join("ca.pem"), parameters.self_signed(&key).unwrap().pem()).unwrap();
        let (issuer, key) = (Issuer::new(parameters, key), KeyPair::generate().unwrap());
        let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let authority = Self { directory };
        fs::write(authority.of_server("crt"), server.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        fs::write(authority.of_server("key"), key.serialize_pem()).unwrap();
        authority
    }

    /// What to trust.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The server's certificate (`crt`), or its key.
    pub(crate) fn of_server(&self, what: &str) -> PathBuf {
        self.directory.path().join(format!("server.{what}"))
    }
}
