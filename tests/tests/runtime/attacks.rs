//! Every attack on the kernel's side of the sandbox that is known, by plugins with each set of permissions, against a table
//! of what must come of it.

use crate::{
    hostile::{DENIED, Hostiles, NOT_PERMITTED, enforced},
    world::World,
};
use std::{
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{MetadataExt, PermissionsExt},
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::Command,
};

/// The sets of permissions, each with the plugin that has it.
const SETS: [(&str, &[&str]); 7] = [
    ("none", &[]),
    ("network", &["network"]),
    ("exec", &["exec"]),
    ("filesystem", &["filesystem"]),
    ("database", &["database"]),
    ("wide", &["network", "filesystem"]),
    ("all", &["network", "exec", "filesystem", "database"]),
];
const DONE: &str = "done";
const UNKNOWN: &str = "Function not implemented (os error 38)";
const LOOP: &str = "Too many levels of symbolic links (os error 40)";
const NO_FILE: &str = "No such file or directory (os error 2)";

/// What comes of an attack.
enum Outcome {
    /// In every set.
    Always(&'static str),
    /// The second one where this permission is given, else the first one.
    Given(&'static str, &'static str, &'static str),
}
use Outcome::{Always, Given};

/// On other processes of the same user: the sidecar, its application, other plugins.
fn on_process(pid: u32) -> Vec<(String, Outcome)> {
    let refused = [
        format!("call prlimit64 {pid} 0 w:1,1 0"),
        format!("call prlimit64 {pid} 7 w:3,3 0"),
        format!("call prlimit64 {pid} 7 0 w:0"),
        format!("call sched_setaffinity {pid} 8 w:1"),
        format!("call sched_setscheduler {pid} 5 w:0"),
        format!("call sched_setparam {pid} w:0"),
        format!("call sched_setattr {pid} w:0x500000030 0"),
        format!("call setpriority 0 {pid} 15"),
        format!("call setpriority 1 {pid} 15"),
        format!("call ioprio_set 1 {pid} 0x6000"),
        format!("call ptrace 16 {pid} 0 0"),
        format!("call ptrace 0x4206 {pid} 0 0"),
        format!("call process_vm_readv {pid} w:0 1 w:0 1 0"),
        format!("call process_vm_writev {pid} w:0 1 w:0 1 0"),
        format!("call kcmp {pid} {pid} 0 0 0"),
        format!("call migrate_pages {pid} 0 0 0"),
        format!("call move_pages {pid} 0 0 0 0 0"),
        format!("call get_robust_list {pid} w:0 w:0"),
        format!("call perf_event_open w:0 {pid} -1 -1 0"),
        format!("call setpgid {pid} 0"),
        format!("call kill {pid} 9"),
        format!("call kill {pid} 19"),
        format!("call kill {pid} 0"),
        format!("call tkill {pid} 9"),
        format!("call tgkill {pid} {pid} 9"),
        format!("call rt_sigqueueinfo {pid} 9 w:9"),
    ];
    let hidden = ["environ", "mem", "maps", "cmdline", "auxv", "net/unix"];
    refused
        .into_iter()
        .map(|attempt| (attempt, Always(NOT_PERMITTED)))
        .chain(hidden.map(|name| (format!("read /proc/{pid}/{name}"), Always(DENIED))))
        .chain([(format!("list /proc/{pid}/fd"), Always(DENIED))])
        .collect()
}

/// On files of others.
fn on_file(path: &Path) -> Vec<(String, Outcome)> {
    let path = path.display();
    [
        format!("call chmod s:{path} 0"),
        format!("call fchmodat -100 s:{path} 0"),
        format!("call fchmodat2 -100 s:{path} 0 0"),
        format!("call fchmodat2 -100 s:{path} 0 0x100"),
        format!("call chown s:{path} -1 -1"),
        format!("call chown s:{path} 1 1"),
        format!("call lchown s:{path} 1 1"),
        format!("call fchownat -100 s:{path} 1 1 0"),
        format!("call utime s:{path} 0"),
        format!("call utimes s:{path} 0"),
        format!("call futimesat -100 s:{path} 0"),
        format!("call utimensat -100 s:{path} 0 0"),
        format!("call setxattr s:{path} s:user.x s:y 1 0"),
        format!("call lsetxattr s:{path} s:user.x s:y 1 0"),
        format!("call removexattr s:{path} s:user.x"),
        format!("chmod-link {path}"),
    ]
    .into_iter()
    .map(|attempt| (attempt, Always(NOT_PERMITTED)))
    // The sidecar follows no link of /proc but to a descriptor.
    .chain([(format!("call chmod s:/proc/self/root{path} 0"), Always(LOOP))])
    .collect()
}

/// What needs no target.
#[rustfmt::skip]
fn on_kernel() -> Vec<(String, Outcome)> {
    let mut attacks: Vec<(&str, Outcome)> = vec![
        // Its own.
        ("own", Always(DONE)),
        ("attributes data", Always(DONE)),
        ("attributes tmp", Always(DONE)),
        ("own-socket", Always(DONE)),
        ("end-child", Always(DONE)),
        ("call prlimit64 0 7 0 w:0", Always(DONE)),
        ("call setpriority 0 0 1", Always(DONE)),
        ("call sched_getaffinity 0 128 w:0", Always(DONE)),
        ("call getpriority 0 1", Always(DONE)),
        ("connect host.sock", Always(DONE)),
        // Ways out of the session, and to other namespaces.
        ("session setsid", Always(NOT_PERMITTED)),
        ("session setpgid", Always(NOT_PERMITTED)),
        ("session unshare", Always(NOT_PERMITTED)),
        ("session setns", Always(NOT_PERMITTED)),
        ("session clone", Always(NOT_PERMITTED)),
        ("undumpable", Always(NOT_PERMITTED)),
        ("call prctl 1 0", Always(NOT_PERMITTED)),
        ("call prctl 1 15", Always(NOT_PERMITTED)),
        ("call prctl 36 1", Always(NOT_PERMITTED)),
        ("call prctl 0x59616d61 1", Always(NOT_PERMITTED)),
        ("call prctl 22 2 w:0", Always(NOT_PERMITTED)),
        ("call prctl 62 1 1 0 0", Always(NOT_PERMITTED)),
        ("call seccomp 1 8 w:0", Always(NOT_PERMITTED)),
        ("call clone 0x8011 0 0 0 0", Always(NOT_PERMITTED)),
        ("call clone3 w:0 64", Always(UNKNOWN)),
        ("call setuid 0", Always(NOT_PERMITTED)),
        ("call setgroups 0 w:0", Always(NOT_PERMITTED)),
        ("call setresuid 0 0 0", Always(NOT_PERMITTED)),
        ("call capset w:0 w:0", Always(NOT_PERMITTED)),
        // Everybody of this user.
        ("call setpriority 2 0 15", Always(NOT_PERMITTED)),
        ("call ioprio_set 3 0 0x6000", Always(NOT_PERMITTED)),
        ("call kill -1 0", Always(DONE)), // of those inside,
        // Memory that its resident size does not show.
        ("call memfd_create s:x 0", Always(NOT_PERMITTED)),
        ("call memfd_secret 0", Always(NOT_PERMITTED)),
        ("call mmap 0 4096 3 0x21 -1 0", Always(NOT_PERMITTED)),
        ("call mmap 0 2097152 3 0x40022 -1 0", Always(NOT_PERMITTED)),
        ("read /dev/zero", Always(DENIED)),
        ("write /dev/shm/x", Always(DENIED)),
        ("call shmget 0 4096 0x3b6", Always(NOT_PERMITTED)),
        ("call semget 0 1 0x3b6", Always(NOT_PERMITTED)),
        ("call msgget 0 0x3b6", Always(NOT_PERMITTED)),
        ("call mq_open s:x 0x42 0x1b6 0", Always(NOT_PERMITTED)),
        ("call fcntl 1 1031 1048576", Always(NOT_PERMITTED)),
        ("call io_setup 1000 w:0", Always(UNKNOWN)),
        // Names of what others have.
        ("socket-names", Always(DENIED)),
        ("call inotify_init1 0", Given("filesystem", NOT_PERMITTED, DONE)),
        ("call inotify_add_watch 0 s:/tmp 0xfff", Given("filesystem", NOT_PERMITTED, "Invalid argument (os error 22)")),
        ("call fanotify_init 0x200 0", Always(NOT_PERMITTED)),
        ("call fanotify_mark 0 1 8 -100 s:/", Always(NOT_PERMITTED)),
        ("call name_to_handle_at -100 s:/ w:128 w:0 0", Always(NOT_PERMITTED)),
        ("call open_by_handle_at -100 w:8 0", Always(NOT_PERMITTED)),
        // Sockets.
        ("socket 1", Always(DONE)),
        ("call socket 1 2 0", Always(NOT_PERMITTED)),
        ("call socket 1 5 0", Always(NOT_PERMITTED)),
        ("call socketpair 1 2 0 w:0", Always(NOT_PERMITTED)),
        ("call socketpair 1 1 0 w:0", Always(DONE)),
        ("udp", Given("network", NOT_PERMITTED, DONE)),
        ("call socket 16 3 0", Given("network", NOT_PERMITTED, DONE)),
        ("call socket 16 3 4", Always(NOT_PERMITTED)), // the names of sockets
        ("call socket 16 3 9", Always(NOT_PERMITTED)),
        ("call socket 17 3 0", Always(NOT_PERMITTED)),
        ("call socket 38 5 0", Always(NOT_PERMITTED)),
        ("call socket 40 1 0", Always(NOT_PERMITTED)),
        ("io_uring", Always(NOT_PERMITTED)),
        // Programs.
        ("run /bin/true", Given("exec", NOT_PERMITTED, DONE)),
        ("run /lib64/ld-linux-x86-64.so.2 /bin/true", Given("exec", NOT_PERMITTED, DONE)),
        ("memfd", Always(NOT_PERMITTED)),
        ("memfd-execveat", Always(NOT_PERMITTED)),
        ("written", Given("exec", NOT_PERMITTED, DENIED)),
        // The machine's.
        ("call mount s:none s:/tmp s:tmpfs 0 0", Always(NOT_PERMITTED)),
        ("call umount2 s:/tmp 0", Always(NOT_PERMITTED)),
        ("call chroot s:/", Always(NOT_PERMITTED)),
        ("call pivot_root s:/ s:/", Always(NOT_PERMITTED)),
        ("call open_tree -100 s:/ 1", Always(NOT_PERMITTED)),
        ("call fsopen s:tmpfs 0", Always(NOT_PERMITTED)),
        ("call swapon s:x 0", Always(NOT_PERMITTED)),
        ("call acct 0", Always(NOT_PERMITTED)),
        ("call reboot 0 0 0 0", Always(NOT_PERMITTED)),
        ("call bpf 0 w:0 128", Always(NOT_PERMITTED)),
        ("call perf_event_open w:0 0 -1 -1 0", Always(NOT_PERMITTED)),
        ("call userfaultfd 1", Always(NOT_PERMITTED)),
        ("call add_key s:user s:x s:y 1 -3", Always(NOT_PERMITTED)),
        ("call keyctl 0 -3 0", Always(NOT_PERMITTED)),
        ("call clock_settime 0 w:0", Always(NOT_PERMITTED)),
        ("call sethostname s:x 1", Always(NOT_PERMITTED)),
        ("call syslog 3 w:0 100", Always(NOT_PERMITTED)),
        ("call personality 0x0040000", Always(NOT_PERMITTED)),
        ("call statmount w:0 w:0 8 0", Always(UNKNOWN)),
        ("call setxattrat -100 s:data 0 s:user.x w:0 0", Always(UNKNOWN)),
        ("call ioctl 0 0x5412 s:x", Always("Inappropriate ioctl for device (os error 25)")),
        ("call umask 511", Always(NOT_PERMITTED)),
        ("call mkdir s:data/closed 63", Always(NOT_PERMITTED)),
        // Descriptors on what it may only read.
        ("fd . fchmod 0", Always(NOT_PERMITTED)),
        ("fd /etc/hosts fchmod 0", Always(NOT_PERMITTED)),
        ("fd /usr fchmod 0", Always(NOT_PERMITTED)),
        ("fd /usr fchown -1 -1", Always(NOT_PERMITTED)),
        ("fd /usr utimensat 0 0 0", Always(NOT_PERMITTED)),
        ("fd /usr fsetxattr s:user.x s:y 1 0", Always(NOT_PERMITTED)),
        ("fd /usr fchmodat2 s: 0 0x1000", Always(NOT_PERMITTED)),
        ("fd /usr fcntl 1024 0", Always(NOT_PERMITTED)), // a lease
        ("fd /usr fcntl 1026 1", Always(NOT_PERMITTED)), // watching
        ("fd /usr fcntl 8 1", Always(NOT_PERMITTED)),    // signals
        ("read /etc/passwd", Always(DENIED)),
        ("list /", Always(DENIED)),
        ("abstract rockstar-test-abstract", Always(NOT_PERMITTED)),
        // Permissions that the host itself checks.
        ("use database", Given("database", "permission denied: plugin '{}' attempted database access without permission", DONE)),
    ];
    if cfg!(target_arch = "x86_64") {
        attacks.push(("x32", Always(NOT_PERMITTED)));
    }
    attacks.into_iter().map(|(attempt, outcome)| (attempt.to_owned(), outcome)).collect()
}

/// What is looked at before and after: nothing of it may change.
fn state(pids: &[u32], paths: &[PathBuf]) -> Vec<String> {
    let read = |pid: &u32| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let cpus = status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap();
        // Priority, nice and policy.
        format!("{pid} {} {} {} {cpus} {limits}", fields[15], fields[16], fields[38])
    };
    let look = |path: &PathBuf| {
        let found = fs::symlink_metadata(path).unwrap();
        let (mode, time) = (found.permissions().mode(), found.mtime_nsec());
        // Directories are in use, and the test itself writes the plugins file.
        let time = if found.is_dir() || path.ends_with("plugins.json") { 0 } else { time };
        format!("{} {mode:o} {} {} {time}", path.display(), found.uid(), found.gid())
    };
    pids.iter().map(read).chain(paths.iter().map(look)).collect()
}

#[tokio::test]
async fn every_attack_ends_as_the_table_says_with_every_set_of_permissions() {
    if !enforced() {
        return;
    }
    let mut plugins = SETS.to_vec();
    plugins.push(("victim", &[]));
    let mut hostiles = Hostiles::started(World::new(), &plugins, vec![]).await;
    let world = hostiles.world.path().to_owned();
    // Programs of others: one whose socket has a name, one whose socket has none.
    let outside = world.join("outside.sock");
    let _listener = UnixListener::bind(&outside).unwrap();
    let shared = world.join("volume/shared.sock");
    let _shared = UnixListener::bind(&shared).unwrap();
    let name = SocketAddr::from_abstract_name("rockstar-test-abstract").unwrap();
    let _abstract = UnixListener::bind_addr(&name).unwrap();
    let victim = hostiles.private_directory("victim");
    let pids = [hostiles.world.pid(), hostiles.world.pid_of("victim").unwrap()];
    let paths: Vec<_> = [
        hostiles.world.socket(),
        world.join("run"),
        world.join("run/p"),
        world.join("data"),
        world.join("plugins.json"),
        world.join("plugins/victim/plugin.json"),
        victim.clone(),
        victim.join("data"),
        victim.join("host.sock"),
        "/usr".into(),
    ]
    .into_iter()
    .filter(|path| path.exists())
    .collect();
    let before = state(&pids, &paths);
    let mut attacks = on_kernel();
    attacks.extend(pids.iter().flat_map(|pid| on_process(*pid)));
    attacks.extend(paths.iter().flat_map(|path| on_file(path)));
    attacks.extend([
        (format!("connect {}", outside.display()), Always(DENIED)),
        (format!("reach {}", shared.display()), Given("filesystem", DENIED, DONE)),
        (format!("datagram {}", outside.display()), Always(NOT_PERMITTED)),
        (format!("connect {}", victim.join("host.sock").display()), Always(DENIED)),
        (format!("connect {}", victim.join("plugin.sock").display()), Always(NO_FILE)),
        (format!("connect {}", hostiles.world.socket().display()), Always(DENIED)),
        (format!("list {}", world.join("run/p").display()), Always(DENIED)),
        (format!("watch {}", world.join("run/p").display()), Given("filesystem", NOT_PERMITTED, DENIED)),
        ("watch data".to_owned(), Given("filesystem", NOT_PERMITTED, DONE)),
        (format!("read {}", world.join("plugins.json").display()), Always(DENIED)),
        (format!("write {}", victim.join("data/x").display()), Always(DENIED)),
    ]);
    let attempts: Vec<_> = attacks.iter().map(|(attempt, _)| attempt.as_str()).collect();
    let mut wrong = Vec::new();
    for (set, permissions) in SETS {
        let outcomes = hostiles.tries(set, &attempts).await;
        for ((attempt, expected), outcome) in attacks.iter().zip(outcomes) {
            let expected = match expected {
                Always(expected) => *expected,
                Given(permission, _, given) if permissions.contains(permission) => given,
                Given(_, without, _) => without,
            };
            if outcome != expected.replace("{}", set) {
                wrong.push(format!("{set}: {attempt} -> {outcome}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), attacks.len() * SETS.len(), wrong.join("\n"));
    assert_eq!(state(&pids, &paths), before);
    assert!(hostiles.world.health("victim").await.is_ok_and(|health| health.error_count == 0));
    assert_eq!(hostiles.try_one("victim", "attributes data").await, DONE, "it is served as before");
}

/// Whether a process of this session is there.
fn is_there(session: u32) -> bool {
    let group = format!("-{session}");
    Command::new("kill").args(["-0", "--", &group]).stderr(std::process::Stdio::null()).status().unwrap().success()
}

/// Chains of processes that live for microseconds, with each end of a plugin that there is.
#[tokio::test]
async fn nothing_is_left_of_a_plugin_that_forks_without_end() {
    if !enforced() {
        return;
    }
    let mut hostiles =
        Hostiles::started(World::new(), &[("p", &[]), ("q", &["network"]), ("victim", &[])], vec![]).await;
    let sessions: Vec<_> = ["p", "q"].map(|name| hostiles.world.pid_of(name).unwrap()).into();
    assert_eq!(hostiles.try_one("p", "hop 8").await, DONE);
    assert_eq!(hostiles.try_one("q", "hop 8").await, DONE);
    // Unloaded.
    hostiles.remove("p");
    let world = &hostiles.world;
    world.until("the end of p's session", || async { !is_there(sessions[0]) }).await;
    assert!(is_there(sessions[1]));
    // Its first process killed.
    crate::world::kill("-KILL", sessions[1]);
    world.until("the end of q's session", || async { !is_there(sessions[1]) }).await;
    let again = || async { world.pid_of("q").is_some_and(|pid| pid != sessions[1]) };
    world.until("another process", again).await;
    world.until_status("q", "running").await;
    // The sidecar killed.
    let last = [world.pid_of("q").unwrap(), world.pid_of("victim").unwrap()];
    assert_eq!(hostiles.try_one("q", "hop 8").await, DONE);
    hostiles.world.kill();
    let world = &hostiles.world;
    world.until("the end of all", || async { !last.iter().any(|session| is_there(*session)) }).await;
    assert_eq!(world.pid_of("q"), None);
}
