//! The filter as a program of classic BPF, for each machine. Pure.

/// What a filter lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Sockets of all kinds; without it only those of this machine (AF_UNIX), and no io_uring, which opens sockets too.
    pub network: bool,
    pub exec: Exec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exec {
    Allowed,
    /// The listener is asked about each.
    Asked,
}

/// Numbers of system calls, and how the kernel calls the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    audit: u32,
    /// Calls with this bit are another interface (x32), whose numbers no rule below knows.
    foreign: Option<u32>,
    setsid: u32,
    setpgid: u32,
    unshare: u32,
    setns: u32,
    clone: u32,
    clone3: u32,
    prctl: u32,
    socket: u32,
    socketpair: u32,
    execve: u32,
    execveat: u32,
}

/// One instruction, as the kernel reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u16,
    when_true: u8,
    when_false: u8,
    value: u32,
}

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const IF_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// Offsets in struct seccomp_data; of the arguments the lower half, on little-endian machines.
const NUMBER: u32 = 0;
const AUDIT: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

const ALLOW: u32 = 0x7fff_0000;
const ASK: u32 = 0x7fc0_0000;
const FAIL: u32 = 0x0005_0000;
const NOT_PERMITTED: u32 = FAIL | 1; // EPERM
const NO_SUCH_CALL: u32 = FAIL | 38; // ENOSYS

const AF_UNIX: u32 = 1;
const PR_SET_DUMPABLE: u32 = 4;
/// CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}
const NAMESPACES: u32 = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;
/// io_uring_setup, _enter, _register; the same on all machines.
const IO_URING: [u32; 3] = [425, 426, 427];

impl Machine {
    pub const X86_64: Self = Self {
        audit: 0xc000_003e,
        foreign: Some(0x4000_0000),
        setsid: 112,
        setpgid: 109,
        unshare: 272,
        setns: 308,
        clone: 56,
        clone3: 435,
        prctl: 157,
        socket: 41,
        socketpair: 53,
        execve: 59,
        execveat: 322,
    };
    pub const AARCH64: Self = Self {
        audit: 0xc000_00b7,
        foreign: None,
        setsid: 157,
        setpgid: 154,
        unshare: 97,
        setns: 268,
        clone: 220,
        clone3: 435,
        prctl: 167,
        socket: 198,
        socketpair: 199,
        execve: 221,
        execveat: 281,
    };

    /// The one that this program is built for, if it is known.
    #[must_use]
    pub const fn own() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::AARCH64)
        } else {
            None
        }
    }
}

impl Filter {
    pub(crate) fn program(self, machine: &Machine) -> Vec<Instruction> {
        let mut program = vec![load(AUDIT), jump(IF_EQUAL, machine.audit, 1, 0), give(NOT_PERMITTED), load(NUMBER)];
        if let Some(bit) = machine.foreign {
            program.extend([jump(IF_AT_LEAST, bit, 0, 1), give(NOT_PERMITTED)]);
        }
        for call in [machine.setsid, machine.setpgid, machine.unshare, machine.setns] {
            program.extend(always(call, NOT_PERMITTED));
        }
        // Its flags are behind a pointer; C libraries fall back to clone.
        program.extend(always(machine.clone3, NO_SUCH_CALL));
        program.extend(on_argument(machine.clone, IF_ANY_BIT, NAMESPACES, NOT_PERMITTED, ALLOW));
        // Who cannot be looked at cannot be told from others.
        program.extend(on_argument(machine.prctl, IF_EQUAL, PR_SET_DUMPABLE, NOT_PERMITTED, ALLOW));
        if !self.network {
            for call in [machine.socket, machine.socketpair] {
                program.extend(on_argument(call, IF_EQUAL, AF_UNIX, ALLOW, NOT_PERMITTED));
            }
            program.extend(IO_URING.into_iter().flat_map(|call| always(call, NOT_PERMITTED)));
        }
        if self.exec == Exec::Asked {
            program.extend([machine.execve, machine.execveat].into_iter().flat_map(|call| always(call, ASK)));
        }
        program.push(give(ALLOW));
        program
    }
}

/// Leaves the call's number loaded.
const fn always(call: u32, verdict: u32) -> [Instruction; 2] {
    [jump(IF_EQUAL, call, 0, 1), give(verdict)]
}

/// A test of the first argument; the call is decided here either way.
const fn on_argument(call: u32, test: u16, value: u32, passed: u32, failed: u32) -> [Instruction; 5] {
    [jump(IF_EQUAL, call, 0, 4), load(FIRST_ARGUMENT), jump(test, value, 0, 1), give(passed), give(failed)]
}

const fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, when_true: 0, when_false: 0, value: offset }
}

const fn jump(code: u16, value: u32, when_true: u8, when_false: u8) -> Instruction {
    Instruction { code, when_true, when_false, value }
}

const fn give(verdict: u32) -> Instruction {
    Instruction { code: RETURN, when_true: 0, when_false: 0, value: verdict }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    /// What the kernel would do: the program, run over one call.
    fn run(program: &[Instruction], audit: u32, call: u32, argument: u64) -> u32 {
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
                        FIRST_ARGUMENT => argument as u32,
                        other => panic!("no such field: {other}"),
                    }
                }
                IF_EQUAL => at += jump(register == value),
                IF_AT_LEAST => at += jump(register >= value),
                IF_ANY_BIT => at += jump(register & value != 0),
                RETURN => return value,
                other => panic!("no such instruction: {other}"),
            }
        }
    }

    const STRICT: Filter = Filter { network: false, exec: Exec::Asked };
    const LOOSE: Filter = Filter { network: true, exec: Exec::Allowed };

    fn verdict(filter: Filter, machine: &Machine, call: u32, argument: u64) -> u32 {
        run(&filter.program(machine), machine.audit, call, argument)
    }

    fn everywhere(check: impl Fn(&Machine)) {
        [Machine::X86_64, Machine::AARCH64].iter().for_each(check);
    }

    #[test]
    fn a_session_cannot_be_left_whatever_is_granted() {
        everywhere(|m| {
            for filter in [STRICT, LOOSE] {
                for call in [m.setsid, m.setpgid, m.unshare, m.setns] {
                    assert_eq!(verdict(filter, m, call, 0), NOT_PERMITTED);
                }
                assert_eq!(verdict(filter, m, m.clone3, 0), NO_SUCH_CALL);
                assert_eq!(verdict(filter, m, m.clone, 0x1000_0000 | 17), NOT_PERMITTED, "CLONE_NEWUSER");
                assert_eq!(verdict(filter, m, m.clone, 0x003d_0f00), ALLOW, "a thread");
                assert_eq!(verdict(filter, m, m.clone, 17), ALLOW, "fork");
            }
        });
    }

    #[test]
    fn without_network_sockets_are_of_this_machine() {
        everywhere(|m| {
            for domain in 0..64 {
                let expected = if domain == 1 { ALLOW } else { NOT_PERMITTED };
                assert_eq!(verdict(STRICT, m, m.socket, domain), expected, "domain {domain}");
                assert_eq!(verdict(LOOSE, m, m.socket, domain), ALLOW);
            }
            // The kernel takes the domain as an int: bits above do not hide it.
            assert_eq!(verdict(STRICT, m, m.socket, 0x1_0000_0002), NOT_PERMITTED);
            for call in IO_URING {
                assert_eq!(verdict(STRICT, m, call, 0), NOT_PERMITTED);
                assert_eq!(verdict(LOOSE, m, call, 0), ALLOW);
            }
        });
    }

    #[test]
    fn without_exec_the_listener_is_asked() {
        everywhere(|m| {
            for call in [m.execve, m.execveat] {
                assert_eq!(verdict(STRICT, m, call, 0), ASK);
                assert_eq!(verdict(LOOSE, m, call, 0), ALLOW);
            }
        });
    }

    #[test]
    fn other_interfaces_of_the_machine_are_closed() {
        let m = Machine::X86_64;
        for filter in [STRICT, LOOSE] {
            assert_eq!(verdict(filter, &m, 0x4000_0000 | m.socket, 1), NOT_PERMITTED, "x32");
            assert_eq!(verdict(filter, &m, 0x4000_0000, 0), NOT_PERMITTED, "x32 read");
            // i386, by int 0x80.
            assert_eq!(run(&filter.program(&m), 0x4000_0003, 102, 0), NOT_PERMITTED);
        }
        assert_eq!(run(&STRICT.program(&Machine::AARCH64), 0x4000_0028, 281, 0), NOT_PERMITTED, "arm");
    }

    #[test]
    fn the_rest_passes() {
        everywhere(|m| {
            let special = [m.setsid, m.setpgid, m.unshare, m.setns, m.clone, m.clone3, m.prctl, m.socket, m.socketpair];
            let special = [&special[..], &IO_URING, &[m.execve, m.execveat]].concat();
            for call in (0..600).filter(|call| !special.contains(call)) {
                assert_eq!(verdict(STRICT, m, call, 2), ALLOW, "call {call}");
            }
            assert_eq!(verdict(STRICT, m, m.prctl, 1), ALLOW);
            assert_eq!(verdict(STRICT, m, m.prctl, 4), NOT_PERMITTED);
        });
    }
}
