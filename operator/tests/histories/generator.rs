//! Random histories: some plugins and pods, then steps of all kinds.

use crate::{
    random::Random,
    step::{Behaviour, History, Step, Whose, Writes},
};

const PLUGINS: [char; 4] = ['a', 'b', 'c', 'd'];

/// At most so many things happen.
pub(crate) fn history(seed: u64, most: u64) -> History {
    let mut random = Random::new(seed ^ 0x5eed);
    let mut generator = Generator { random: &mut random, minor: 0, steps: Vec::new(), hosts: 1 };
    generator.begin();
    let count = 3 + generator.random.below(most.saturating_sub(2));
    for _ in 0..count {
        generator.something();
        let wait = generator.random.pick(&[0, 1, 3, 6, 10, 20, 31, 45, 90]);
        if wait > 0 {
            generator.steps.push(Step::Wait(wait));
        }
    }
    let steps = generator.steps;
    History { seed, steps }
}

struct Generator<'a> {
    random: &'a mut Random,
    minor: u32,
    steps: Vec<Step>,
    hosts: u64,
}

impl Generator<'_> {
    fn begin(&mut self) {
        let pods = self.random.pick(&[1, 2, 3, 4, 6, 10]);
        self.steps.push(Step::Scale { host: 0, pods });
        let count = self.random.between(1, 4);
        for plugin in PLUGINS.into_iter().take(usize::try_from(count).unwrap_or(1)) {
            self.steps.push(Step::Apply { host: 0, plugin, version: (1, 0), behaviour: Behaviour::Good });
        }
        if self.random.percent(15) {
            self.hosts = 2;
            self.steps.push(Step::CreateHost { host: 1 });
            self.steps.push(Step::Scale { host: 1, pods: 2 });
            self.steps.push(Step::Apply { host: 1, plugin: 'c', version: (1, 0), behaviour: Behaviour::Good });
        }
        let wait = self.random.pick(&[5, 60, 60, 60, 90]);
        self.steps.push(Step::Wait(wait));
    }

    fn behaviour(&mut self) -> Behaviour {
        match self.random.below(14) {
            0 => Behaviour::FailsToStart,
            1 => Behaviour::NotFound,
            2 => Behaviour::Unreachable,
            3 => Behaviour::Crashes { after: 0, percent: 100 },
            4 => Behaviour::Crashes { after: 5, percent: 100 },
            5 => Behaviour::Crashes { after: 29, percent: 100 },
            6 => Behaviour::Crashes { after: 33, percent: 100 },
            7 => Behaviour::Crashes { after: 10, percent: 30 },
            8 => Behaviour::Crashes { after: 5, percent: 30 },
            _ => Behaviour::Good,
        }
    }

    fn edit(&mut self) {
        let host = self.host();
        let plugin = self.random.pick(&PLUGINS);
        let behaviour = self.behaviour();
        let major = if self.random.percent(25) { 2 } else { 1 };
        let back = self.random.percent(10);
        self.minor += 1;
        let version = (major, if back { 0 } else { self.minor });
        let behaviour = if back { Behaviour::Good } else { behaviour };
        self.steps.push(Step::Apply { host, plugin, version, behaviour });
        let partner = match plugin {
            'a' => 'b',
            'b' => 'a',
            'c' => 'd',
            _ => 'c',
        };
        if self.random.percent(if major == 2 { 80 } else { 30 }) {
            let behaviour = self.behaviour();
            self.steps.push(Step::Apply { host, plugin: partner, version: (major, self.minor), behaviour });
        }
    }

    fn host(&mut self) -> usize {
        usize::try_from(self.random.below(self.hosts)).unwrap_or_default()
    }

    fn something(&mut self) {
        let host = self.host();
        let plugin = self.random.pick(&PLUGINS);
        let pod = usize::try_from(self.random.below(12)).unwrap_or_default();
        let seconds = self.random.pick(&[1, 5, 16, 20, 40, 70, 130]);
        let on = self.random.percent(50);
        let by = self.random.pick(&[-3_600_000, -300_000, -30_000, 30_000, 300_000, 3_600_000]);
        let step = match self.random.below(64) {
            0..=18 => return self.edit(),
            19..=20 => Step::Delete { host, plugin },
            21 => Step::Enable { host, plugin, on: false },
            22 => Step::Enable { host, plugin, on: true },
            23 => Step::Priority { host, plugin, priority: self.random.pick(&[50, 100, 200]) },
            24 => Step::Closed { host, plugin, closed: on },
            25 => Step::Network { host, plugin, on },
            26..=27 => Step::Retry { host, plugin },
            28..=29 => Step::Scale { host, pods: self.random.pick(&[0, 1, 2, 3, 5, 8, 12]) },
            30 => Step::Job { host, seconds: self.random.pick(&[5, 20, 50]) },
            31..=32 => Step::Evict { pod },
            33..=35 => Step::Kill { pod },
            36 => Step::Restart { pod },
            37 => Step::Crash { pod, plugin },
            38..=39 => Step::CutStream { pod, seconds },
            40 => Step::CutNode { node: pod, seconds },
            41..=44 => Step::LoseLeader { seconds: self.random.pick(&[1, 3, 15, 60]) },
            45..=46 => Step::FreezeLeader { seconds: self.random.pick(&[20, 40, 80]) },
            47 => Step::Clock { whose: self.random.pick(&[Whose::ApiServer, Whose::Operator, Whose::Pod(pod)]), by },
            48..=49 => {
                let of = [Writes::Rollout, Writes::Revision, Writes::PluginStatus, Writes::HostStatus];
                Step::FailWrites { of: self.random.pick(&of), seconds }
            }
            50 if on => Step::HideSecrets { seconds },
            50 => Step::Garble { host, plugin, seconds },
            51 if on => Step::Forbid { seconds },
            51 => Step::Pause { host, on },
            52 => Step::Partition { host, pods: self.random.pick(&[0, 0, 1, 2, 5]) },
            53..=54 => Step::MaxUnavailable { host, pods: self.random.pick(&[1, 1, 2, 4]) },
            55 => Step::Threshold { host, instances: self.random.pick(&[1, 2, 3]) },
            56 => Step::Halt { host, on },
            57 => Step::DeleteHost { host },
            58 => Step::CreateHost { host },
            59..=60 => Step::Configure { host, plugin, value: u32::try_from(self.random.below(3)).unwrap_or_default() },
            61..=62 => Step::LagWatches { seconds: self.random.pick(&[1, 3]) },
            _ if self.hosts == 2 => Step::Relabel { pod },
            _ => Step::Wait(30),
        };
        self.steps.push(step);
    }
}
