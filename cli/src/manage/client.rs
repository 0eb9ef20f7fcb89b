//! Calls to a sidecar's admin address. Does I/O.

use crate::args::ServerArgs;
use anyhow::{Context as _, anyhow, bail};
use reqwest::{Method, Response};
use rockstar_core::admin_token;
use serde_json::Value;
use std::{fs, net::IpAddr, os::unix::fs::MetadataExt, path::PathBuf, time::Duration};

/// A reload may wait for a queue, a drain and a start.
const PATIENCE: Duration = Duration::from_secs(180);
const CONNECT: Duration = Duration::from_secs(5);

pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(server: &ServerArgs) -> anyhow::Result<Self> {
        let base = match server.admin.contains("://") {
            true => server.admin.trim_end_matches('/').to_owned(),
            false => format!("http://{}", server.admin),
        };
        let token = match &server.token {
            Some(path) => {
                let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
                Some(text.trim().to_owned())
            }
            None => announced(&base),
        };
        // Its address is the machine's own or a forwarded port: no proxy leads there.
        let http = reqwest::Client::builder().timeout(PATIENCE).connect_timeout(CONNECT).no_proxy().build()?;
        Ok(Self { http, base, token })
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, &Value::Null).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, body).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PUT, path, body).await
    }

    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, path, &Value::Null).await
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !body.is_null() {
            request = request.json(body);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        answer(response).await
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let why = match error {
            error if error.is_timeout() => "no answer in time",
            error if error.is_connect() => {
                "nothing listens there; is the sidecar running, and is --admin its admin address?"
            }
            _ => "the connection broke",
        };
        anyhow!("cannot reach the sidecar at {}: {why}", self.base)
    }
}

/// The token that a sidecar of this user on this machine has left for its command line.
fn announced(base: &str) -> Option<String> {
    let address = reqwest::Url::parse(base).ok()?;
    let host = address.host_str()?.trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let user = rustix::process::geteuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
    let directory = fs::symlink_metadata(admin_token::directory(runtime.as_deref(), user)).ok()?;
    if !is_here || !directory.is_dir() || directory.uid() != user || directory.mode() & 0o077 != 0 {
        return None;
    }
    let path = admin_token::path(runtime.as_deref(), user, address.port_or_known_default()?);
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The sidecar's own words, where it refuses.
async fn answer(response: Response) -> anyhow::Result<Value> {
    let status = response.status();
    let text = response.text().await.context("the sidecar's answer broke off")?;
    let value: Option<Value> = serde_json::from_str(&text).ok();
    match value {
        Some(value) if status.is_success() => Ok(value),
        Some(Value::Object(fields)) if fields.contains_key("error") => {
            bail!("{}", fields["error"].as_str().unwrap_or_default())
        }
        _ => bail!("that is no sidecar: it answered {status}"),
    }
}
