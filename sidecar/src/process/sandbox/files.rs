//! Files and programs: the Landlock rules. Does I/O.

use super::{Confinement, DATA, TEMPORARY, programs};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope, path_beneath_rules,
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The newest that was tried. On an older kernel the crate leaves out what that does not know.
const NEWEST: ABI = ABI::V9;

/// Programs, libraries and data of the system.
const SYSTEM: [&str; 6] = ["/usr", "/lib", "/lib32", "/lib64", "/bin", "/opt"];
/// What libraries want of the rest. Without secrets, and without names of people.
const SETTINGS: [&str; 20] = [
    "/etc/ld.so.cache",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/java-17-openjdk",
    "/etc/java-21-openjdk",
    "/etc/java-25-openjdk",
    "/dev/random",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/kernel/mm/transparent_hugepage",
];
/// What a process is told about itself. Not `net`, which names everybody's sockets and is below each thread, too.
const SELF: [&str; 22] = [
    "auxv",
    "cgroup",
    "cmdline",
    "comm",
    "environ",
    "fd",
    "fdinfo",
    "io",
    "limits",
    "maps",
    "mountinfo",
    "mounts",
    "oom_score",
    "oom_score_adj",
    "personality",
    "sched",
    "schedstat",
    "smaps",
    "smaps_rollup",
    "stat",
    "statm",
    "status",
];
const NOWHERE: &str = "/dev/null";

/// One grant: these paths with all below them, those that exist.
struct Rule {
    paths: Vec<PathBuf>,
    access: BitFlags<AccessFs>,
}

/// Confines the calling thread.
pub(super) fn restrict(confinement: &Confinement, program: &Path) -> io::Result<()> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|r| r.scope(Scope::from_all(NEWEST)))
        .map_err(io::Error::other)?;
    if !confinement.network {
        // For sockets that others hand over.
        ruleset = ruleset.handle_access(AccessNet::from_all(ABI::V4)).map_err(io::Error::other)?;
    }
    let mut ruleset = ruleset.create().map_err(io::Error::other)?;
    for Rule { paths, access } in rules(confinement, programs::of(program)?) {
        ruleset = ruleset.add_rules(path_beneath_rules(paths, access)).map_err(io::Error::other)?;
    }
    ruleset.restrict_self().map_err(io::Error::other)?;
    Ok(())
}

/// Nothing that can be written can be executed, whatever is granted.
fn rules(confinement: &Confinement, programs: Vec<PathBuf>) -> Vec<Rule> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_all(NEWEST) & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock);
    let own = read | AccessFs::MakeSock | AccessFs::RemoveFile | AccessFs::ResolveUnix;
    let fixed = if confinement.exec { read | AccessFs::Execute } else { read };
    let (read_only, writable): (Vec<_>, Vec<_>) = confinement.volumes.iter().partition(|volume| volume.read_only);
    let volumes = |list: Vec<&super::Volume>| list.into_iter().map(|volume| volume.path.clone()).collect();
    let system = SYSTEM.iter().map(PathBuf::from).chain([confinement.artifact.clone()]);
    vec![
        Rule { paths: vec![".".into()], access: own },
        Rule { paths: vec![DATA.into(), TEMPORARY.into()], access: write },
        Rule { paths: system.collect(), access: fixed },
        Rule { paths: SETTINGS.map(PathBuf::from).to_vec(), access: read },
        Rule { paths: SELF.map(|name| Path::new("/proc/self").join(name)).to_vec(), access: read },
        Rule { paths: vec![NOWHERE.into()], access: AccessFs::ReadFile | AccessFs::WriteFile },
        Rule { paths: programs, access: AccessFs::ReadFile | AccessFs::Execute },
        Rule { paths: volumes(writable), access: write },
        Rule { paths: volumes(read_only), access: read },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::sandbox::Volume;

    #[test]
    fn nothing_writable_is_executable() {
        let volumes = vec![Volume { path: "/srv".into(), read_only: false }];
        let all = Confinement { artifact: "/a".into(), volumes, network: true, exec: true, ..Confinement::default() };
        for rule in rules(&all, vec!["/a/p".into()]) {
            let writes = rule.access.intersects(AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::Refer);
            assert!(!(writes && rule.access.contains(AccessFs::Execute)), "{:?}", rule.paths);
        }
    }

    #[test]
    fn without_exec_only_the_programs_own_chain_is_executable() {
        let none = Confinement { artifact: "/a".into(), ..Confinement::default() };
        let executable = rules(&none, vec!["/a/p".into()]).into_iter().filter(|r| r.access.contains(AccessFs::Execute));
        assert_eq!(executable.flat_map(|r| r.paths).collect::<Vec<_>>(), [Path::new("/a/p")]);
    }
}
