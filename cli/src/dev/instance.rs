//! One instance: a sidecar and its application, as a pod would hold them. Says what to start; writes the token.

use super::children::Program;
use rockstar_operator::dev::Member;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) name: String,
    /// Where the application answers.
    pub(super) app: SocketAddr,
    /// Where the sidecar has /metrics, /readyz and /admin.
    pub(super) admin: SocketAddr,
    directory: PathBuf,
    token: String,
}

impl Instance {
    pub(super) fn new(number: usize, run: &Path, app: SocketAddr, admin: SocketAddr) -> Self {
        let name = format!("instance-{number}");
        let token = hex::encode(rand::random::<[u8; 16]>());
        Self { directory: run.join(number.to_string()), name, app, admin, token }
    }

    /// What the operator knows it by.
    pub(super) fn member(&self) -> Member {
        Member { name: self.name.clone(), token: self.token.clone(), host: None }
    }

    /// Makes its directory.
    pub(super) fn prepare(&self) -> io::Result<()> {
        fs::create_dir(&self.directory)?;
        fs::write(self.path("token"), &self.token)
    }

    pub(super) fn sidecar(&self, program: &Path, control: &Path) -> Program {
        let mut control_url = OsString::from("unix:");
        control_url.push(control);
        let args = [
            ("--control", control_url),
            ("--control-token", self.path("token").into()),
            ("--socket", self.path("app.sock").into()),
            ("--run-dir", self.path("run").into()),
            ("--data-dir", self.path("data").into()),
            ("--admin", self.admin.to_string().into()),
        ];
        Program {
            name: format!("sidecar of {}", self.name),
            path: program.to_owned(),
            args: args.into_iter().flat_map(|(flag, value)| [flag.into(), value]).collect(),
            env: BTreeMap::new(),
            log: self.path("sidecar.log"),
        }
    }

    pub(super) fn application(&self, program: &Path) -> Program {
        Program {
            name: format!("application of {}", self.name),
            path: program.to_owned(),
            args: Vec::new(),
            env: [
                ("ADDR".into(), self.app.to_string().into()),
                ("ROCKSTAR_SOCKET".into(), self.path("app.sock").into()),
            ]
            .into(),
            log: self.path("app.log"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}
