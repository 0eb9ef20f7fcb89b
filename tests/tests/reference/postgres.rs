//! A PostgreSQL server from the system's packages on a free port of the loopback, shared by the tests that run at the same
//! time and ended with the last of them.

use crate::authority::Authority;
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

const STEP: Duration = Duration::from_millis(50);
const STEPS: usize = 1_200;
/// Ports are found free and may be taken before the server has them.
const ATTEMPTS: usize = 5;

struct Server {
    process: Mutex<Child>,
    port: u16,
    directory: tempfile::TempDir,
}

/// A database of its own, with two roles that are no superusers: its owner, and one that may add schemas.
pub(crate) struct Postgres {
    server: Arc<Server>,
    name: String,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let server = {
            let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            shared.upgrade().unwrap_or_else(|| {
                let server = Arc::new(Server::start());
                *shared = Arc::downgrade(&server);
                server
            })
        };
        let name = format!("test{}", COUNT.fetch_add(1, Relaxed));
        for sql in [
            format!("CREATE ROLE {name} LOGIN"),
            format!("CREATE ROLE {name}_storage LOGIN"),
            format!("CREATE DATABASE {name} OWNER {name}"),
            format!("GRANT CREATE ON DATABASE {name} TO {name}_storage"),
        ] {
            server.sql("postgres", &sql);
        }
        Self { server, name }
    }

    /// On a server that nobody else uses.
    pub(crate) fn alone() -> Self {
        let server = Arc::new(Server::start());
        server.sql("postgres", "CREATE ROLE alone LOGIN");
        server.sql("postgres", "CREATE DATABASE alone OWNER alone");
        Self { server, name: "alone".into() }
    }

    /// Ends the server, until `go_on`.
    pub(crate) fn stop(&self) {
        self.server.stop();
    }

    pub(crate) fn go_on(&self) {
        self.server.go_on();
    }

    /// For the database's owner.
    pub(crate) fn url(&self) -> String {
        self.url_of(&self.name)
    }

    /// For the role that may add schemas.
    pub(crate) fn storage_url(&self) -> String {
        self.url_of(&format!("{}_storage", self.name))
    }

    fn url_of(&self, role: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{}?sslmode=disable", self.server.port, self.name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Speaks TLS too from now on.
    pub(crate) fn speak_tls(&self, authority: &Authority) {
        for what in ["crt", "key"] {
            let file = self.server.directory.path().join(format!("data/server.{what}"));
            fs::copy(authority.of_server(what), &file).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::chown(&file, other_user(), None).unwrap();
        }
        self.sql("ALTER SYSTEM SET ssl = on");
        self.sql("SELECT pg_reload_conf()");
        assert!((0..STEPS).any(|_| self.sql("SHOW ssl") == "on" || {
            std::thread::sleep(STEP);
            false
        }));
    }

    /// As the superuser; the output is what psql prints, unaligned and without headers.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql)
    }
}

impl Server {
    fn start() -> Self {
        (0..ATTEMPTS).find_map(|_| Self::attempt()).expect("PostgreSQL does not start")
    }

    fn attempt() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        if let Some(uid) = other_user() {
            std::os::unix::fs::chown(directory.path(), Some(uid), None).unwrap();
        }
        let data = directory.path().join("data");
        let made = as_postgres("initdb").args(["--no-sync", "-A", "trust", "-U", "postgres", "-D"]).arg(&data).output();
        let made = made.unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { process: Mutex::new(spawn(&data, port)), port, directory };
        server.is_up().then_some(server)
    }

    /// Waits until it answers; false if it ends.
    fn is_up(&self) -> bool {
        for _ in 0..STEPS {
            if self.process.lock().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            if self.psql("postgres", "SELECT 1").status.success() {
                return true;
            }
            std::thread::sleep(STEP);
        }
        false
    }

    /// A fast shutdown: it does not wait for its clients.
    fn stop(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let has_ended = |process: &mut Child| process.try_wait().is_ok_and(|ended| ended.is_some());
        if has_ended(&mut process) {
            return;
        }
        Command::new("kill").args(["-INT", &process.id().to_string()]).status().ok();
        for _ in 0..STEPS {
            if has_ended(&mut process) {
                return;
            }
            std::thread::sleep(STEP);
        }
        process.kill().ok();
        process.wait().ok();
    }

    /// Somebody may have the port for a moment.
    fn go_on(&self) {
        let began = (0..STEPS).any(|_| {
            *self.process.lock().unwrap() = spawn(&self.directory.path().join("data"), self.port);
            self.is_up()
        });
        assert!(began, "PostgreSQL does not start again");
    }

    fn psql(&self, database: &str, sql: &str) -> Output {
        let mut psql = Command::new(program("psql"));
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-d", database]);
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql]).output().unwrap()
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        let done = self.psql(database, sql);
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(data: &Path, port: u16) -> Child {
    as_postgres("postgres")
        .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB"])
        .args(["-c", "max_connections=300", "-c", "unix_socket_directories=", "-p", &port.to_string(), "-D"])
        .arg(data)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// PostgreSQL refuses to run as root: then its own user runs it.
fn as_postgres(name: &str) -> Command {
    let mut command = match other_user() {
        None => Command::new(program(name)),
        Some(_) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program(name));
            command
        }
    };
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn other_user() -> Option<u32> {
    let id = |arguments: &[&str]| {
        let told = Command::new("id").args(arguments).output().unwrap();
        String::from_utf8_lossy(&told.stdout).trim().parse::<u32>().ok()
    };
    (id(&["-u"]) == Some(0)).then(|| id(&["-u", "postgres"]).expect("no user postgres: install the package postgresql"))
}

/// Debian keeps the server's programs off the path, one directory a version.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<_> = versions.filter_map(|e| Some(e.ok()?.path().join("bin").join(name))).collect();
    found.retain(|path| path.exists());
    found.sort();
    found.pop().unwrap_or_else(|| Path::new(name).to_owned())
}
