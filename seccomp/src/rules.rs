//! What a plugin's process may call, as a table: calls, condition, permission, verdict, why. What no row names does not
//! exist for a plugin (ENOSYS: libraries take their older way). Of the rows that name a call the first decides whose
//! permission and condition hold; if none does, the call is not permitted (EPERM). Pure.

use Condition::{AllOf, Equals, Leader, Masked, NoneOf, OneOf};
use Verdict::{Allow, Ask, Fail, Succeed};
use When::{Any, With, Without};

/// What a process has, by its permissions or by its kernel, that rows depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    Network,
    Exec,
    Filesystem,
    /// Landlock keeps signals inside of the plugin (ABI 6).
    SignalScope,
    /// Landlock keeps connections to Unix sockets inside of the plugin (ABI 9).
    SocketScope,
    /// The sidecar answers what it is asked.
    Listener,
    /// It can also read what arguments lead to.
    Memory,
}

/// For which processes a row counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    Any,
    With(Given),
    Without(Given),
}

/// A test of the lower half of one argument, which is named by its index. No call here reads more of one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Condition {
    Equals(u8, u32),
    OneOf(u8, &'static [u32]),
    /// All of these bits are set.
    AllOf(u8, u32),
    /// None of these bits is set.
    NoneOf(u8, u32),
    /// Under this mask, it is this value.
    Masked(u8, u32, u32),
    /// It is 0, or the process id of the plugin's first process: the caller itself.
    Leader(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allow,
    /// With this error.
    Fail(u16),
    /// Nothing happens, and the caller hears that it did.
    Succeed,
    /// The sidecar decides, and does it itself or lets it pass.
    Ask,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) calls: &'static [&'static str],
    /// All of them must hold.
    pub(crate) conditions: &'static [Condition],
    pub(crate) when: When,
    pub(crate) verdict: Verdict,
    #[cfg_attr(not(test), expect(dead_code, reason = "for whoever reads the table"))]
    pub(crate) why: &'static str,
}

pub(crate) const EPERM: u16 = 1;
const EINVAL: u16 = 22;
const ENOTTY: u16 = 25;
pub(crate) const ENOSYS: u16 = 38;

/// CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}. CLONE_NEWTIME lies where clone has the exit signal.
const NAMESPACES: u32 = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;
/// CLONE_PARENT, CLONE_PTRACE.
const FOREIGN_PARENT: u32 = 0x0000_8000 | 0x0000_2000;
const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
const SOCK_STREAM: u32 = 1;
const NETLINK_ROUTE: u32 = 0;
const MAP_SHARED: u32 = 1; // MAP_SHARED_VALIDATE has this bit too
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_HUGETLB: u32 = 0x4_0000;
const OWNER: u32 = 0o700;
const SIGKILL: u32 = 9;
const PR_SET_PDEATHSIG: u32 = 1;
const PRIO_PROCESS_AND_GROUP: &[u32] = &[0, 1];
const IOPRIO_PROCESS_AND_GROUP: &[u32] = &[1, 2];
/// PER_LINUX, and the value that only asks.
const PERSONALITIES: &[u32] = &[0, 0xffff_ffff];

/// Options about the caller itself that change nothing about who may look at it or end it.
#[rustfmt::skip]
const PRCTL: &[u32] = &[
    2, 3, 7, 8,             // GET_PDEATHSIG, GET_DUMPABLE, {GET,SET}_KEEPCAPS
    15, 16,                 // {SET,GET}_NAME
    21, 23, 27,             // GET_SECCOMP, CAPBSET_READ, GET_SECUREBITS
    25, 26,                 // {GET,SET}_TSC
    29, 30,                 // {SET,GET}_TIMERSLACK
    37, 38, 39, 40,         // GET_CHILD_SUBREAPER, {SET,GET}_NO_NEW_PRIVS, GET_TID_ADDRESS
    41, 42,                 // {SET,GET}_THP_DISABLE
    50, 51, 52, 53,         // SVE_{SET,GET}_VL, {GET,SET}_SPECULATION_CTRL
    54, 55, 56, 60, 61,     // PAC_*, {SET,GET}_TAGGED_ADDR_CTRL
    63, 64, 65, 66,         // SME_{SET,GET}_VL, {SET,GET}_MDWE
    69, 70, 71, 72, 73, 74, // RISCV, PPC
    0x5356_4d41,            // SET_VMA: names of mappings
    0x4155_5856,            // GET_AUXV
];
/// Options that say who may look at, trace, adopt or outlive whom, or that loosen what confines.
#[rustfmt::skip]
const PRCTL_REFUSED: &[u32] = &[
    PR_SET_PDEATHSIG,
    4,           // SET_DUMPABLE
    22,          // SET_SECCOMP
    24, 28,      // CAPBSET_DROP, SET_SECUREBITS
    31, 32,      // TASK_PERF_EVENTS_{DISABLE,ENABLE}
    33, 34, 35,  // MCE_KILL, MCE_KILL_GET, SET_MM
    36,          // SET_CHILD_SUBREAPER
    47, 57, 58,  // CAP_AMBIENT, {SET,GET}_IO_FLUSHER
    59, 62,      // SET_SYSCALL_USER_DISPATCH, SCHED_CORE
    0x5961_6d61, // SET_PTRACER
];

/// Commands that reach nobody else: no signals (SETOWN, SETSIG, NOTIFY), no leases, which make others' opens wait, no
/// larger pipes, whose memory is nobody's.
#[rustfmt::skip]
const FCNTL: &[u32] = &[
    0, 1, 2, 3, 4,                      // DUPFD, {GET,SET}FD, {GET,SET}FL
    5, 6, 7, 36, 37, 38,                // {GET,SET}LK{,W}, OFD_{GET,SET}LK{,W}
    9, 11, 16,                          // GETOWN, GETSIG, GETOWN_EX
    1025, 1027, 1028, 1030, 1032,       // GETLEASE, DUPFD_QUERY, CREATED_QUERY, DUPFD_CLOEXEC, GETPIPE_SZ
    1034, 1035, 1036, 1037, 1038,       // GET_SEALS, {GET,SET}_{,FILE_}RW_HINT
];

/// Requests of terminals, pipes, sockets and files that tell, or change how the caller's own descriptor behaves.
#[rustfmt::skip]
const IOCTL: &[u32] = &[
    0x5401, 0x5413, 0x540f,             // TCGETS, TIOCGWINSZ, TIOCGPGRP
    0x541b, 0x5421, 0x5450, 0x5451,     // FIONREAD, FIONBIO, FION{CLEX}, FIOCLEX
    0x5452,                             // FIOASYNC
    0x802c_542a, 0x8004_5430,           // TCGETS2, TIOCGPTN
    0x4004_9409, 0x4020_940d,           // FICLONE, FICLONERANGE
    0xc020_660b, 0x8008_6601,           // FS_IOC_FIEMAP, FS_IOC_GETFLAGS
    2,                                  // FIGETBSZ
    0x8905, 0x8906, 0x8907,             // SIOCATMARK, SIOCGSTAMP{,NS}
];
/// What a resolver asks about interfaces.
#[rustfmt::skip]
const IOCTL_NETWORK: &[u32] = &[
    0x8910, 0x8912, 0x8913, 0x8915, 0x8917, 0x8919, 0x891b, 0x891d, 0x8921, 0x8927, 0x8933, 0x8942, // SIOCGIF*
];

const ALWAYS: &[Condition] = &[];
const UNIX_STREAM: &[Condition] = &[Equals(0, AF_UNIX), Masked(1, 0xf, SOCK_STREAM)];

const fn rule(
    calls: &'static [&'static str],
    conditions: &'static [Condition],
    when: When,
    verdict: Verdict,
    why: &'static str,
) -> Rule {
    Rule { calls, conditions, when, verdict, why }
}

/// The table.
#[rustfmt::skip]
pub(crate) const RULES: &[Rule] = &[
    // Files: Landlock decides which, at the open or at the change of a directory.
    rule(&["read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "lseek",
           "close", "close_range", "dup", "dup2", "dup3", "fsync", "fdatasync", "sync_file_range", "ftruncate", "fallocate",
           "fadvise64", "readahead", "copy_file_range", "sendfile", "splice", "tee", "vmsplice", "flock", "getdents",
           "getdents64", "cachestat"],
         ALWAYS, Any, Allow, "on a descriptor that it has"),
    rule(&["open", "openat", "openat2", "creat", "truncate", "rename", "renameat", "renameat2", "rmdir", "link", "linkat",
           "unlink", "unlinkat", "symlink", "symlinkat", "mknod", "mknodat"],
         ALWAYS, Any, Allow, "Landlock confines them"),
    rule(&["stat", "fstat", "lstat", "newfstatat", "statx", "statfs", "fstatfs", "access", "faccessat", "faccessat2",
           "readlink", "readlinkat", "getcwd", "chdir", "fchdir", "getxattr", "lgetxattr", "fgetxattr", "listxattr",
           "llistxattr", "flistxattr", "getxattrat", "listxattrat", "file_getattr"],
         ALWAYS, Any, Allow, "they change nothing"),
    rule(&["mkdir"], &[AllOf(1, OWNER)], Any, Allow, "a directory that the sidecar cannot enter could not be measured or removed"),
    rule(&["mkdirat"], &[AllOf(2, OWNER)], Any, Allow, "the same"),
    rule(&["umask"], &[NoneOf(0, OWNER)], Any, Allow, "the same"),
    rule(&["chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat", "utime", "utimes",
           "futimesat", "utimensat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"],
         ALWAYS, With(Given::Memory), Ask, "Landlock does not confine them: the sidecar does it where the plugin may write"),
    rule(&["sync"], ALWAYS, Any, Succeed, "it makes every disk of the machine work"),
    rule(&["inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch"],
         ALWAYS, With(Given::Filesystem), Allow, "Landlock does not confine what is watched"),
    rule(&["fanotify_init", "fanotify_mark", "name_to_handle_at", "open_by_handle_at"], ALWAYS, Any, Fail(EPERM), "they name files of others"),
    rule(&["fcntl"], &[OneOf(1, FCNTL)], Any, Allow, "commands that reach nobody else"),
    rule(&["fcntl"], ALWAYS, Any, Fail(EPERM), "signals, leases and larger pipes reach others"),
    rule(&["ioctl"], &[OneOf(1, IOCTL)], Any, Allow, "requests that reach nobody else"),
    rule(&["ioctl"], &[OneOf(1, IOCTL_NETWORK)], With(Given::Network), Allow, "interfaces' names and addresses"),
    rule(&["ioctl"], ALWAYS, Any, Fail(ENOTTY), "terminals' input, files' flags, devices"),

    // Memory: resident memory must be all that a plugin has.
    rule(&["mmap"], &[NoneOf(3, MAP_SHARED | MAP_HUGETLB)], Any, Allow, "private"),
    rule(&["mmap"], &[NoneOf(3, MAP_ANONYMOUS | MAP_HUGETLB)], Any, Allow, "of a file that it has open"),
    rule(&["memfd_create", "memfd_secret", "shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semtimedop", "semctl",
           "msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify",
           "mq_getsetattr"],
         ALWAYS, Any, Fail(EPERM), "memory that nobody's resident size shows, which outlives the plugin"),
    rule(&["mprotect", "pkey_mprotect", "pkey_alloc", "pkey_free", "munmap", "mremap", "madvise", "brk", "msync", "mincore",
           "mlock", "mlock2", "munlock", "mlockall", "munlockall", "membarrier", "get_mempolicy", "mseal",
           "map_shadow_stack"],
         ALWAYS, Any, Allow, "its own memory"),

    // Processes and threads: always of this session and its process group.
    rule(&["clone"], &[NoneOf(0, NAMESPACES | FOREIGN_PARENT)], Any, Allow, "a thread or a child of this session"),
    rule(&["clone3"], ALWAYS, Any, Fail(ENOSYS), "its flags are behind a pointer; libraries fall back to clone"),
    rule(&["fork", "vfork", "exit", "exit_group", "wait4", "waitid", "pidfd_open"], ALWAYS, Any, Allow, "its own processes"),
    rule(&["setsid", "setpgid", "unshare", "setns"], ALWAYS, Any, Fail(EPERM), "its session and its process group are how it is known and ended"),
    rule(&["execve", "execveat"], ALWAYS, With(Given::Exec), Allow, "Landlock decides which files"),
    rule(&["execve", "execveat"], ALWAYS, With(Given::Listener), Ask, "only on the way to becoming the plugin"),
    rule(&["execve", "execveat"], ALWAYS, Any, Allow, "nobody answers here: Landlock decides which files"),
    rule(&["kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"],
         ALWAYS, With(Given::SignalScope), Allow, "Landlock keeps them inside"),
    rule(&["kill", "tgkill"], &[Leader(0)], Any, Allow, "itself"),
    rule(&["kill"], ALWAYS, With(Given::Listener), Ask, "the sidecar does it, to processes of this session"),
    rule(&["gettid", "getpid", "getppid", "getpgid", "getpgrp", "getsid", "getuid", "geteuid", "getgid", "getegid", "getresuid",
           "getresgid", "getgroups", "capget", "set_tid_address", "set_robust_list", "rseq", "futex", "futex_waitv",
           "futex_wake", "futex_wait", "futex_requeue", "sched_yield", "sched_get_priority_max", "sched_get_priority_min",
           "sched_rr_get_interval", "getrlimit", "setrlimit", "getrusage", "times", "sysinfo", "uname", "getcpu",
           "arch_prctl", "getrandom", "restart_syscall"],
         ALWAYS, Any, Allow, "the caller itself"),
    rule(&["rt_sigaction", "rt_sigprocmask", "rt_sigpending", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigreturn",
           "sigaltstack", "pause"],
         ALWAYS, Any, Allow, "how it takes signals"),
    rule(&["sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_getattr", "getpriority", "ioprio_get"],
         ALWAYS, Any, Allow, "they change nothing; a JVM reads them of its threads"),
    rule(&["sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr", "prlimit64"],
         &[Leader(0)], Any, Allow, "for itself: others of the same user are not confined by Landlock"),
    rule(&["setpriority"], &[OneOf(0, PRIO_PROCESS_AND_GROUP), Leader(1)], Any, Allow, "for itself or its process group"),
    rule(&["ioprio_set"], &[OneOf(0, IOPRIO_PROCESS_AND_GROUP), Leader(1)], Any, Allow, "for itself or its process group"),
    rule(&["personality"], &[OneOf(0, PERSONALITIES)], Any, Allow, "what it is already"),
    rule(&["prctl"], &[OneOf(0, PRCTL)], Any, Allow, "the caller itself"),
    rule(&["prctl"], &[Equals(0, PR_SET_PDEATHSIG), Equals(1, SIGKILL)], Any, Allow, "what is set already"),
    rule(&["prctl"], &[OneOf(0, PRCTL_REFUSED)], Any, Fail(EPERM), "who may look at it, and what ends it"),
    rule(&["prctl"], ALWAYS, Any, Fail(EINVAL), "as a kernel that does not have the option"),
    rule(&["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"], ALWAYS, Any, Allow, "they only take away"),
    rule(&["seccomp"], ALWAYS, Any, Fail(EPERM), "a filter with a listener of its own could answer in the sidecar's place"),

    // Time and events.
    rule(&["clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "timer_create",
           "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete", "timerfd_create", "timerfd_settime",
           "timerfd_gettime", "getitimer", "setitimer", "alarm"],
         ALWAYS, Any, Allow, "its own clocks"),
    rule(&["poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
           "epoll_pwait2", "eventfd", "eventfd2", "signalfd", "signalfd4", "pipe", "pipe2"],
         ALWAYS, Any, Allow, "its own descriptors"),
    rule(&["io_uring_setup", "io_uring_enter", "io_uring_register"], ALWAYS, Any, Fail(EPERM), "calls that no filter sees"),

    // Sockets.
    rule(&["socket"], UNIX_STREAM, With(Given::SocketScope), Allow, "Landlock confines where to"),
    rule(&["socket"], UNIX_STREAM, Without(Given::Network), Allow, "connect and bind decide where to"),
    rule(&["socket"], UNIX_STREAM, With(Given::Memory), Ask, "it gets one that cannot connect by itself"),
    rule(&["socket"], UNIX_STREAM, Any, Allow, "nobody answers here"),
    rule(&["socketpair"], UNIX_STREAM, Any, Allow, "both ends are its own; datagrams could be sent anywhere"),
    rule(&["socket"], &[OneOf(0, &[AF_INET, AF_INET6])], With(Given::Network), Allow, "the network"),
    rule(&["socket"], &[Equals(0, AF_NETLINK), Equals(2, NETLINK_ROUTE)], With(Given::Network), Allow, "resolvers list the interfaces"),
    rule(&["connect"], ALWAYS, With(Given::SocketScope), Allow, "Landlock confines Unix sockets"),
    rule(&["connect"], ALWAYS, With(Given::Memory), Ask, "the sidecar connects it to what is the plugin's own"),
    rule(&["connect"], ALWAYS, Any, Allow, "nobody answers here"),
    rule(&["bind"], ALWAYS, With(Given::SocketScope), Allow, "Landlock confines where"),
    rule(&["bind"], ALWAYS, Without(Given::Network), Allow, "Landlock confines where"),
    rule(&["bind"], ALWAYS, With(Given::Memory), Ask, "the socket is one that cannot connect by itself"),
    rule(&["bind"], ALWAYS, Any, Allow, "Landlock confines where"),
    rule(&["accept", "accept4", "listen", "getsockname", "getpeername", "getsockopt", "setsockopt", "sendto", "recvfrom",
           "sendmsg", "recvmsg", "sendmmsg", "recvmmsg", "shutdown"],
         ALWAYS, Any, Allow, "on a socket that it has"),

    // What is known as dangerous says so; everything else is unknown.
    rule(&["ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "pidfd_getfd", "kcmp",
           "get_robust_list", "move_pages", "migrate_pages", "mbind", "set_mempolicy", "set_mempolicy_home_node",
           "perf_event_open", "userfaultfd", "bpf", "add_key", "request_key", "keyctl", "lookup_dcookie"],
         ALWAYS, Any, Fail(EPERM), "they look into or change other processes, or the kernel"),
    rule(&["mount", "umount2", "pivot_root", "chroot", "open_tree", "open_tree_attr", "move_mount", "fsopen", "fsconfig",
           "fsmount", "fspick", "mount_setattr", "swapon", "swapoff", "quotactl", "quotactl_fd", "acct", "reboot",
           "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "sethostname", "setdomainname",
           "iopl", "ioperm", "vhangup", "syslog", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "modify_ldt"],
         ALWAYS, Any, Fail(EPERM), "the machine's"),
    rule(&["setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "capset"],
         ALWAYS, Any, Fail(EPERM), "another user, or a signal at its parent's death that is forgotten"),
];
