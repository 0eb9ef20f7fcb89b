//! A kube-apiserver with its etcd, on loopback, for one test. I/O: processes.

use kube::{Client, Config};
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

const TOKEN: &str = "test-admin";

pub(crate) struct ApiServer {
    processes: Vec<Child>,
    port: u16,
    _dir: TempDir,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(program: PathBuf, log: &Path, args: &[String]) -> Child {
    let log = std::fs::File::create(log).unwrap();
    let both = (log.try_clone().unwrap(), log);
    Command::new(program).args(args).stdin(Stdio::null()).stdout(both.0).stderr(both.1).spawn().unwrap()
}

impl ApiServer {
    /// None where there are no programs for it.
    pub(crate) async fn start() -> Option<Self> {
        let bin = PathBuf::from(std::env::var_os("ROCKSTAR_KUBE_BIN")?);
        let dir = TempDir::new().unwrap();
        let (client, peer, port) = (free_port(), free_port(), free_port());
        let etcd = etcd(&bin, dir.path(), client, peer);
        let server = Self { processes: vec![etcd, api_server(&bin, dir.path(), client, port)], port, _dir: dir };
        server.wait().await;
        Some(server)
    }

    pub(crate) fn client(&self) -> Client {
        let mut config = Config::new(format!("https://127.0.0.1:{}", self.port).parse().unwrap());
        config.accept_invalid_certs = true;
        config.auth_info.token = Some(TOKEN.to_owned().into());
        config.default_namespace = "default".into();
        Client::try_from(config).unwrap()
    }

    async fn wait(&self) {
        let request = || http::Request::get("/readyz").body(Vec::new()).unwrap();
        let ready = async {
            while self.client().request_text(request()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(90), ready).await.unwrap();
    }
}

fn etcd(bin: &Path, dir: &Path, client: u16, peer: u16) -> Child {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let args = [
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".into(),
    ];
    spawn(bin.join("etcd"), &dir.join("etcd.log"), &args)
}

fn api_server(bin: &Path, dir: &Path, etcd: u16, port: u16) -> Child {
    let (key, public, tokens) = (dir.join("sa.key"), dir.join("sa.pub"), dir.join("tokens.csv"));
    let pair = rcgen::KeyPair::generate().unwrap();
    std::fs::write(&key, pair.serialize_pem()).unwrap();
    std::fs::write(&public, pair.public_key_pem()).unwrap();
    std::fs::write(&tokens, format!("{TOKEN},admin,admin,system:masters\n")).unwrap();
    let args = [
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".into(),
        format!("--cert-dir={}", dir.join("certs").display()),
        format!("--service-account-key-file={}", public.display()),
        format!("--service-account-signing-key-file={}", key.display()),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--service-cluster-ip-range=10.0.0.0/24".into(),
        "--authorization-mode=AlwaysAllow".into(),
        format!("--token-auth-file={}", tokens.display()),
        "--disable-admission-plugins=ServiceAccount".into(),
    ];
    spawn(bin.join("kube-apiserver"), &dir.join("api.log"), &args)
}
