//! Requests to all applications all the time, each counted. Talks HTTP to loopback.

use parking_lot::Mutex;
use reqwest::{Client, Response, StatusCode};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// Longer than any reload may hold a request.
const DEADLINE: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(5);
const TOKEN: &str = "demo";
/// The header by which auth-plugin says which version answered.
const VERSION: &str = "x-auth-plugin";

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    served: BTreeMap<String, u64>,
    failed: u64,
    first_failure: Option<String>,
}

impl Counts {
    pub(super) fn served(&self) -> u64 {
        self.inner.lock().served.values().sum()
    }

    pub(super) fn failed(&self) -> u64 {
        self.inner.lock().failed
    }

    pub(super) fn first_failure(&self) -> Option<String> {
        self.inner.lock().first_failure.clone()
    }

    /// How many each version of auth-plugin let through.
    pub(super) fn by_version(&self) -> BTreeMap<String, u64> {
        self.inner.lock().served.clone()
    }

    fn count(&self, outcome: Result<String, String>) {
        let mut inner = self.inner.lock();
        match outcome {
            Ok(version) => *inner.served.entry(version).or_default() += 1,
            Err(failure) => {
                inner.failed += 1;
                inner.first_failure.get_or_insert(failure);
            }
        }
    }
}

/// Requests flow until it is dropped.
#[derive(Debug)]
pub(super) struct Traffic {
    _callers: JoinSet<()>,
}

impl Traffic {
    pub(super) fn start(client: &Client, addresses: &[SocketAddr], counts: &Counts) -> Self {
        let mut callers = JoinSet::new();
        for address in addresses {
            callers.spawn(flow(client.clone(), *address, counts.clone()));
        }
        Self { _callers: callers }
    }
}

pub(super) fn client() -> reqwest::Result<Client> {
    Client::builder().timeout(DEADLINE).no_proxy().build()
}

/// A request with a token.
pub(super) async fn hello(client: &Client, address: SocketAddr, number: u64) -> reqwest::Result<Response> {
    client.get(format!("http://{address}/hello/{number}")).bearer_auth(TOKEN).send().await
}

/// What a request without a token is answered.
pub(super) async fn without_token(client: &Client, address: SocketAddr) -> reqwest::Result<StatusCode> {
    Ok(client.get(format!("http://{address}/hello/1")).send().await?.status())
}

async fn flow(client: Client, address: SocketAddr, counts: Counts) {
    for number in 1.. {
        let answer = hello(&client, address, number).await;
        counts.count(judge(address, answer));
        sleep(PAUSE).await;
    }
}

/// The version that let it through, or why it failed.
fn judge(address: SocketAddr, answer: reqwest::Result<Response>) -> Result<String, String> {
    let response = answer.map_err(|error| format!("{address}: {error:?}"))?;
    let version = response.headers().get(VERSION).and_then(|value| value.to_str().ok());
    match (response.status(), version) {
        (StatusCode::OK, Some(version)) => Ok(version.to_owned()),
        (StatusCode::OK, None) => Err(format!("{address}: answered without auth-plugin")),
        (status, _) => Err(format!("{address}: {status}")),
    }
}
