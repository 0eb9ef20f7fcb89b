use super::*;
use std::sync::LazyLock;

const PLUGIN: u32 = 4242;
const OTHER: u64 = 77;
const STRICT: Filter = Filter {
    network: false,
    exec: false,
    filesystem: false,
    signals_scoped: true,
    sockets_scoped: false,
    listener: true,
    memory: true,
    leader: PLUGIN,
};
const LOOSE: Filter = Filter { network: true, exec: true, filesystem: true, sockets_scoped: true, ..STRICT };
const NOT_PERMITTED: u32 = FAIL | 1;
const UNKNOWN: u32 = FAIL | 38;

/// What the kernel would do: the program, run over one call.
fn run(program: &[Instruction], audit: u32, call: u32, arguments: [u64; 6]) -> u32 {
    let (mut at, mut register) = (0, 0);
    loop {
        let Instruction { code, when_true, when_false, value } = program[at];
        let jump = |holds: bool| usize::from(if holds { when_true } else { when_false });
        at += 1;
        match code {
            LOAD => {
                register = match value {
                    NUMBER => call,
                    AUDIT => audit,
                    other => {
                        let place = other - FIRST_ARGUMENT;
                        assert_eq!(place % 8, 0, "a lower half");
                        arguments[place as usize / 8] as u32
                    }
                }
            }
            MASK => register &= value,
            JUMP => at += value as usize,
            IF_EQUAL => at += jump(register == value),
            IF_ABOVE => at += jump(register > value),
            IF_AT_LEAST => at += jump(register >= value),
            IF_ANY_BIT => at += jump(register & value != 0),
            RETURN => return value,
            other => panic!("no such instruction: {other}"),
        }
    }
}

/// A filter as a program.
struct Compiled {
    filter: Filter,
    machine: Machine,
    program: Vec<Instruction>,
}

impl Compiled {
    fn new(filter: Filter, machine: Machine) -> Self {
        Self { filter, machine, program: filter.program(&machine) }
    }

    fn verdict(&self, number: u32, arguments: &[u64]) -> u32 {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        run(&self.program, self.machine.audit, number, all)
    }
}

/// All filters there are, on both machines.
static ALL: LazyLock<Vec<Compiled>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for machine in [Machine::X86_64, Machine::AARCH64] {
        for bits in 0..128_u32 {
            let bit = |index: u32| bits & (1 << index) != 0;
            let filter = Filter {
                network: bit(0),
                exec: bit(1),
                filesystem: bit(2),
                signals_scoped: bit(3),
                sockets_scoped: bit(4),
                listener: bit(5),
                memory: bit(6) && bit(5),
                leader: PLUGIN,
            };
            all.push(Compiled::new(filter, machine));
        }
    }
    all
});

fn everywhere(check: impl Fn(Filter, &Compiled)) {
    ALL.iter().for_each(|compiled| check(compiled.filter, compiled));
}

/// Checks calls that this machine has.
fn expect(under: &Compiled, calls: &[&str], arguments: &[u64], expected: u32) {
    for call in calls {
        let Some(number) = under.machine.number(call) else { continue };
        let seen = under.verdict(number, arguments);
        let Compiled { filter, machine, .. } = under;
        assert_eq!(seen, expected, "{call}{arguments:?} on {machine:?} with {filter:?}: {seen:#x}");
    }
}

#[test]
fn every_name_in_the_table_is_a_call_and_every_row_has_a_reason() {
    for rule in RULES {
        assert!(!rule.why.is_empty());
        for call in rule.calls {
            assert!(crate::numbers::is_known(call), "{call}");
        }
    }
}

#[test]
fn the_program_is_one_that_the_kernel_takes() {
    everywhere(|_, under| {
        let program = &under.program;
        assert!(program.len() < 4096, "{}", program.len());
        for (at, instruction) in program.iter().enumerate() {
            let furthest = match instruction.code {
                JUMP => instruction.value as usize,
                IF_EQUAL | IF_ABOVE | IF_AT_LEAST | IF_ANY_BIT => {
                    usize::from(instruction.when_true.max(instruction.when_false))
                }
                _ => 0,
            };
            assert!(at + 1 + furthest < program.len() || instruction.code == RETURN, "instruction {at}");
        }
    });
}

#[test]
fn a_call_that_no_row_names_does_not_exist() {
    everywhere(|_, under| {
        let (program, machine) = (&under.program, under.machine);
        let named: Vec<_> = RULES.iter().flat_map(|r| r.calls).filter_map(|call| machine.number(call)).collect();
        for call in (0..1024).filter(|call| !named.contains(call)) {
            assert_eq!(run(program, machine.audit, call, [0; 6]), UNKNOWN, "call {call} {:?}", machine.name(call));
        }
        // Newer than the table.
        for call in [470, 471, 500, 0x3fff_ffff] {
            assert_eq!(run(program, machine.audit, call, [1; 6]), UNKNOWN);
        }
        expect(under, &["clone3", "setxattrat", "file_setattr", "io_setup", "syncfs", "statmount"], &[], UNKNOWN);
    });
}

#[test]
fn limits_and_scheduling_are_changed_for_oneself_alone() {
    everywhere(|_, under| {
        let calls = ["sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr", "prlimit64"];
        for (pid, expected) in [(0, ALLOW), (u64::from(PLUGIN), ALLOW), (OTHER, NOT_PERMITTED), (1, NOT_PERMITTED)] {
            expect(under, &calls, &[pid], expected);
            expect(under, &["setpriority"], &[0, pid], expected);
            expect(under, &["setpriority"], &[1, pid], expected);
            expect(under, &["ioprio_set"], &[1, pid], expected);
        }
        // The kernel takes process ids as int: bits above do not hide one.
        expect(under, &calls, &[0x1_0000_0000 | OTHER], NOT_PERMITTED);
        expect(under, &calls, &[u64::from(u32::MAX)], NOT_PERMITTED);
        expect(under, &["setpriority"], &[2, 0], NOT_PERMITTED);
        expect(under, &["ioprio_set"], &[3, 0], NOT_PERMITTED);
        let reads = ["sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_getattr"];
        expect(under, &reads, &[OTHER], ALLOW);
        expect(under, &["getpriority", "ioprio_get"], &[0, OTHER], ALLOW);
    });
}

#[test]
fn a_session_cannot_be_left_nor_outlive_the_sidecar() {
    everywhere(|_, under| {
        expect(under, &["setsid", "setpgid", "unshare", "setns", "seccomp", "ptrace"], &[], NOT_PERMITTED);
        for flags in [0x1000_0000_u64, 0x0002_0000, 0x4000_0000, 0x8000, 0x2000] {
            expect(under, &["clone"], &[flags | 17], NOT_PERMITTED);
        }
        expect(under, &["clone"], &[0x003d_0f00], ALLOW);
        expect(under, &["clone"], &[0x4000 | 0x100 | 17], ALLOW);
        expect(under, &["fork", "vfork"], &[], ALLOW);
        for (option, argument) in [(1, 0), (1, 15), (4, 0), (22, 2), (36, 1), (0x5961_6d61, 1), (62, 1)] {
            expect(under, &["prctl"], &[option, argument], NOT_PERMITTED);
        }
        expect(under, &["prctl"], &[1, 9], ALLOW);
        expect(under, &["prctl"], &[15, 9], ALLOW);
        expect(under, &["prctl"], &[9999, 0], FAIL | 22);
    });
}

#[test]
fn attributes_are_the_sidecars_to_change() {
    let calls = [
        "chmod",
        "fchmod",
        "fchmodat",
        "fchmodat2",
        "chown",
        "lchown",
        "fchown",
        "fchownat",
        "utime",
        "utimes",
        "futimesat",
        "utimensat",
        "setxattr",
        "lsetxattr",
        "fsetxattr",
        "removexattr",
        "lremovexattr",
        "fremovexattr",
    ];
    everywhere(|filter, under| {
        let expected = if filter.memory { ASK } else { NOT_PERMITTED };
        expect(under, &calls, &[], expected);
        let watch = if filter.filesystem { ALLOW } else { NOT_PERMITTED };
        expect(under, &["inotify_init", "inotify_init1", "inotify_add_watch"], &[], watch);
        expect(under, &["fanotify_init", "open_by_handle_at"], &[], NOT_PERMITTED);
    });
}

#[test]
fn memory_is_private() {
    everywhere(|_, under| {
        let mmap = |flags: u64, expected| expect(under, &["mmap"], &[0, 4096, 3, flags], expected);
        mmap(0x22, ALLOW);
        mmap(0x02, ALLOW);
        mmap(0x01, ALLOW);
        mmap(0x21, NOT_PERMITTED);
        mmap(0x23, NOT_PERMITTED);
        mmap(0x4_0022, NOT_PERMITTED);
        expect(under, &["memfd_create", "shmget", "semget", "msgget", "mq_open", "memfd_secret"], &[], NOT_PERMITTED);
    });
}

#[test]
fn without_network_sockets_are_of_this_machine_and_streams() {
    everywhere(|filter, under| {
        let network = if filter.network { ALLOW } else { NOT_PERMITTED };
        for domain in (0..64).filter(|domain| *domain != 1) {
            let expected = if [2, 10, 16].contains(&domain) { network } else { NOT_PERMITTED };
            expect(under, &["socket"], &[domain, 2, 0], expected);
        }
        expect(under, &["socket"], &[16, 3, 9], NOT_PERMITTED);
        // The kernel takes the domain as an int: bits above do not hide it.
        expect(under, &["socket"], &[0x1_0000_0002, 1, 0], network);
        for kind in [2, 5, 2 | 0x80800, 3] {
            expect(under, &["socket", "socketpair"], &[1, kind, 0], NOT_PERMITTED);
        }
        for kind in [1, 1 | 0x80000, 1 | 0x80800] {
            expect(under, &["socketpair"], &[1, kind, 0], ALLOW);
        }
        expect(under, &["io_uring_setup", "io_uring_enter", "io_uring_register"], &[], NOT_PERMITTED);
    });
}

#[test]
fn connections_are_landlocks_or_the_sidecars() {
    everywhere(|filter, under| {
        let asked = filter.memory && !filter.sockets_scoped;
        expect(under, &["connect"], &[], if asked { ASK } else { ALLOW });
        let made = if asked && filter.network { ASK } else { ALLOW };
        expect(under, &["bind"], &[], made);
        expect(under, &["socket"], &[1, 1, 0], made);
    });
}

#[test]
fn programs_and_signals_are_asked_about() {
    everywhere(|filter, under| {
        let asked = filter.listener && !filter.exec;
        expect(under, &["execve", "execveat"], &[], if asked { ASK } else { ALLOW });
        let (own, other) = match (filter.signals_scoped, filter.listener) {
            (true, _) => (ALLOW, ALLOW),
            (false, true) => (ALLOW, ASK),
            (false, false) => (ALLOW, NOT_PERMITTED),
        };
        expect(under, &["kill"], &[0, 9], own);
        expect(under, &["kill"], &[OTHER, 9], other);
        expect(under, &["kill"], &[u64::from(u32::MAX), 9], other);
        let thread = if filter.signals_scoped { ALLOW } else { NOT_PERMITTED };
        expect(under, &["tkill", "pidfd_send_signal", "rt_sigqueueinfo"], &[OTHER], thread);
        expect(under, &["tgkill"], &[OTHER, OTHER], thread);
        expect(under, &["tgkill"], &[u64::from(PLUGIN), OTHER], ALLOW);
    });
}

#[test]
fn other_interfaces_of_the_machine_are_closed() {
    let all = [0; 6];
    let m = Machine::X86_64;
    for filter in [STRICT, LOOSE] {
        assert_eq!(run(&filter.program(&m), m.audit, 0x4000_0000 | 41, all), NOT_PERMITTED, "x32");
        assert_eq!(run(&filter.program(&m), m.audit, 0x4000_0000, all), NOT_PERMITTED, "x32 read");
        // i386, by int 0x80.
        assert_eq!(run(&filter.program(&m), 0x4000_0003, 102, all), NOT_PERMITTED);
        assert_eq!(run(&filter.program(&Machine::AARCH64), 0x4000_0028, 281, all), NOT_PERMITTED, "arm");
    }
}

#[test]
fn what_runtimes_call_passes() {
    // Seen with strace: CPython with grpcio, Node with grpc-js, grpc-go, OpenJDK 17; and what libraries try first.
    let calls = [
        "read",
        "write",
        "close",
        "openat",
        "newfstatat",
        "statx",
        "fstat",
        "lseek",
        "munmap",
        "mprotect",
        "brk",
        "madvise",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "pread64",
        "pwrite64",
        "readv",
        "writev",
        "sched_yield",
        "nanosleep",
        "getpid",
        "gettid",
        "accept",
        "accept4",
        "listen",
        "getsockname",
        "getpeername",
        "setsockopt",
        "getsockopt",
        "sendto",
        "recvfrom",
        "sendmsg",
        "recvmsg",
        "shutdown",
        "exit",
        "exit_group",
        "wait4",
        "waitid",
        "uname",
        "getcwd",
        "chdir",
        "unlink",
        "unlinkat",
        "readlink",
        "readlinkat",
        "getuid",
        "sysinfo",
        "geteuid",
        "sigaltstack",
        "arch_prctl",
        "futex",
        "getdents64",
        "set_tid_address",
        "clock_gettime",
        "clock_nanosleep",
        "epoll_create1",
        "epoll_ctl",
        "epoll_wait",
        "epoll_pwait",
        "eventfd2",
        "pipe2",
        "dup3",
        "getrandom",
        "rseq",
        "set_robust_list",
        "faccessat",
        "faccessat2",
        "ftruncate",
        "flistxattr",
        "sendfile",
        "copy_file_range",
        "flock",
        "pidfd_open",
        "close_range",
        "membarrier",
        "getrusage",
        "capget",
        "mlock",
        "timerfd_create",
        "fdatasync",
    ];
    everywhere(|_, under| expect(under, &calls, &[], ALLOW));
}

#[test]
fn descriptors_send_no_signals_and_hold_no_leases() {
    everywhere(|_, under| {
        for command in [0, 1, 2, 3, 4, 6, 1030] {
            expect(under, &["fcntl"], &[3, command], ALLOW);
        }
        for command in [8, 10, 15, 1024, 1026, 1031] {
            expect(under, &["fcntl"], &[3, command], NOT_PERMITTED);
        }
        for request in [0x5401, 0x5421, 0x541b] {
            expect(under, &["ioctl"], &[3, request], ALLOW);
        }
        // TIOCSTI, TIOCLINUX, FS_IOC_SETFLAGS, FIOSETOWN.
        for request in [0x5412, 0x541c, 0x4008_6602, 0x8901] {
            expect(under, &["ioctl"], &[3, request], FAIL | 25);
        }
        expect(under, &["umask"], &[0o077], ALLOW);
        expect(under, &["umask"], &[0o777], NOT_PERMITTED);
        expect(under, &["mkdir"], &[0, 0o755], ALLOW);
        expect(under, &["mkdirat"], &[3, 0, 0o077], NOT_PERMITTED);
    });
}
