//! The table of rules as a program of classic BPF, for each machine and each process. Pure.

use crate::{
    numbers::Machine,
    rules::{Condition, ENOSYS, EPERM, Given, RULES, Rule, Verdict, When},
};
use std::collections::{BTreeMap, BTreeSet};

/// What a process is let through, by its permissions and by its kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub network: bool,
    pub exec: bool,
    pub filesystem: bool,
    /// Landlock confines signals.
    pub signals_scoped: bool,
    /// Landlock confines connections to Unix sockets.
    pub sockets_scoped: bool,
    /// The kernel can ask; without it what must be asked passes or fails, as the table says.
    pub listener: bool,
    /// The sidecar can read what the arguments of a call lead to.
    pub memory: bool,
    /// The process id of the plugin's first process. As long as one of its session lives it is nobody else's.
    pub leader: u32,
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
const MASK: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const IF_ABOVE: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
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

impl Filter {
    pub(crate) fn program(&self, machine: &Machine) -> Vec<Instruction> {
        let mut program =
            vec![load(AUDIT), jump(IF_EQUAL, machine.audit, 1, 0), ret(Verdict::Fail(EPERM)), load(NUMBER)];
        if let Some(bit) = machine.foreign {
            program.extend([jump(IF_AT_LEAST, bit, 0, 1), ret(Verdict::Fail(EPERM))]);
        }
        let mut fixed = BTreeMap::new();
        for (number, rules) in self.rules_by_number(machine) {
            match rules.first() {
                Some(rule) if rule.conditions.is_empty() => {
                    fixed.insert(number, rule.verdict);
                }
                _ => program.extend(self.on_call(number, &rules)),
            }
        }
        program.extend(ranges(&fixed).into_iter().flat_map(|(first, last, verdict)| on_range(first, last, verdict)));
        program.push(ret(Verdict::Fail(ENOSYS)));
        program
    }

    /// The rules of each call that count for this process, in the table's order; none at all: it is not permitted.
    fn rules_by_number(&self, machine: &Machine) -> BTreeMap<u32, Vec<&'static Rule>> {
        let calls: BTreeSet<_> = RULES.iter().flat_map(|rule| rule.calls).collect();
        let numbered = calls.into_iter().filter_map(|call| Some((machine.number(call)?, *call)));
        numbered.map(|(number, call)| (number, self.rules_of(call))).collect()
    }

    fn rules_of(&self, call: &str) -> Vec<&'static Rule> {
        RULES.iter().filter(|rule| rule.calls.contains(&call) && self.counts(rule.when)).collect()
    }

    const fn counts(&self, when: When) -> bool {
        match when {
            When::Any => true,
            When::With(given) => self.has(given),
            When::Without(given) => !self.has(given),
        }
    }

    const fn has(&self, given: Given) -> bool {
        match given {
            Given::Network => self.network,
            Given::Exec => self.exec,
            Given::Filesystem => self.filesystem,
            Given::SignalScope => self.signals_scoped,
            Given::SocketScope => self.sockets_scoped,
            Given::Listener => self.listener,
            Given::Memory => self.memory,
        }
    }

    /// Decides one call; leaves the number loaded where it is another one.
    fn on_call(&self, number: u32, rules: &[&Rule]) -> Vec<Instruction> {
        let mut block = Vec::new();
        for rule in rules {
            block.extend(self.on_rule(rule));
        }
        block.push(ret(Verdict::Fail(EPERM)));
        let over = Instruction { code: JUMP, when_true: 0, when_false: 0, value: block.len() as u32 };
        [vec![jump(IF_EQUAL, number, 1, 0), over], block].concat()
    }

    /// Returns the verdict if all conditions hold, else goes on behind it.
    fn on_rule(&self, rule: &Rule) -> Vec<Instruction> {
        let mut block = vec![ret(rule.verdict)];
        for condition in rule.conditions.iter().rev() {
            block = [self.on_condition(*condition, block.len()), block].concat();
        }
        block
    }

    /// Goes on with the next instruction if it holds, else jumps over `rest` of them.
    fn on_condition(&self, condition: Condition, rest: usize) -> Vec<Instruction> {
        let over = Instruction { code: JUMP, when_true: 0, when_false: 0, value: rest as u32 };
        let argument = |index: u8| load(FIRST_ARGUMENT + 8 * u32::from(index));
        let masked = |mask| Instruction { code: MASK, when_true: 0, when_false: 0, value: mask };
        match condition {
            Condition::Equals(index, value) => vec![argument(index), jump(IF_EQUAL, value, 1, 0), over],
            Condition::AllOf(index, bits) => vec![argument(index), masked(bits), jump(IF_EQUAL, bits, 1, 0), over],
            Condition::NoneOf(index, bits) => vec![argument(index), jump(IF_ANY_BIT, bits, 0, 1), over],
            Condition::Masked(index, mask, value) => {
                vec![argument(index), masked(mask), jump(IF_EQUAL, value, 1, 0), over]
            }
            Condition::Leader(index) => one_of(argument(index), &[0, self.leader], over),
            Condition::OneOf(index, values) => one_of(argument(index), values, over),
        }
    }
}

/// At most 254 values.
fn one_of(argument: Instruction, values: &[u32], over: Instruction) -> Vec<Instruction> {
    let tests = values.iter().enumerate().map(|(at, value)| jump(IF_EQUAL, *value, (values.len() - at) as u8, 0));
    std::iter::once(argument).chain(tests).chain([over]).collect()
}

/// Numbers in a row with the same verdict: first, last.
fn ranges(verdicts: &BTreeMap<u32, Verdict>) -> Vec<(u32, u32, Verdict)> {
    let mut ranges: Vec<(u32, u32, Verdict)> = Vec::new();
    for (number, verdict) in verdicts {
        match ranges.last_mut() {
            Some((_, last, same)) if *last + 1 == *number && same == verdict => *last = *number,
            _ => ranges.push((*number, *number, *verdict)),
        }
    }
    ranges
}

const fn on_range(first: u32, last: u32, verdict: Verdict) -> [Instruction; 3] {
    [jump(IF_AT_LEAST, first, 0, 2), jump(IF_ABOVE, last, 1, 0), ret(verdict)]
}

const fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, when_true: 0, when_false: 0, value: offset }
}

const fn jump(code: u16, value: u32, when_true: u8, when_false: u8) -> Instruction {
    Instruction { code, when_true, when_false, value }
}

const fn ret(verdict: Verdict) -> Instruction {
    let value = match verdict {
        Verdict::Allow => ALLOW,
        Verdict::Ask => ASK,
        Verdict::Succeed => FAIL,
        Verdict::Fail(error) => FAIL | error as u32,
    };
    Instruction { code: RETURN, when_true: 0, when_false: 0, value }
}

#[cfg(test)]
#[path = "filter/tests.rs"]
mod tests;
