//! Where NATS is, and which part of it is ours: `nats://[user:password@]host:port[,host:port…][/scope]`. Pure.

use async_nats::ServerAddr;
use std::fmt;

const SCHEMES: [&str; 2] = ["nats", "tls"];

/// Sidecars with the same scope hear each other.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    servers: Vec<ServerAddr>,
    scope: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("the address of the events' engine must begin with nats:// or tls://")]
    Scheme,
    #[error("the address of the events' engine has no valid server: {0}")]
    Server(String),
}

impl Address {
    /// `scope` counts where the address has none.
    pub fn parse(text: &str, scope: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").filter(|(s, _)| SCHEMES.contains(s)).ok_or(AddressError::Scheme)?;
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let server = |host: &str| match host.is_empty() {
            true => Err(AddressError::Server("it is empty".to_owned())),
            false => {
                format!("{scheme}://{host}").parse().map_err(|e: std::io::Error| AddressError::Server(e.to_string()))
            }
        };
        let servers = hosts.split(',').map(|host| server(host.trim())).collect::<Result<_, _>>()?;
        let scope = if path.is_empty() { scope } else { path };
        Ok(Self { servers, scope: scope.trim_end_matches('/').to_owned() })
    }

    pub(super) fn servers(&self) -> Vec<ServerAddr> {
        self.servers.clone()
    }

    pub(super) fn scope(&self) -> &str {
        &self.scope
    }
}

/// Without credentials.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, server) in self.servers.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}:{}", server.host(), server.port())?;
        }
        write!(f, "/{}", self.scope)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        Address::parse(text, "default").unwrap().to_string()
    }

    #[test]
    fn servers_and_scope() {
        assert_eq!(parsed("nats://one"), "one:4222/default");
        assert_eq!(parsed("nats://user:secret@one:4223,two:4224/shop"), "one:4223,two:4224/shop");
        assert_eq!(parsed("tls://one/team/shop"), "one:4222/team/shop");
    }

    #[test]
    fn others_are_refused_without_telling_secrets() {
        assert_eq!(Address::parse("redis://one", "x"), Err(AddressError::Scheme));
        assert_eq!(Address::parse("nats://", "x"), Err(AddressError::Server("it is empty".to_owned())));
        let error = Address::parse("nats://user:secret@one:port", "x").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
