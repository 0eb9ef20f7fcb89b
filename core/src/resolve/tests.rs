use super::*;
use proptest::{collection::vec, option, prelude::*, sample::subsequence};
use std::time::Instant;

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

/// `cache >=2.0.0`, with `?` in front where optional; `framework` for the framework.
fn node(at: &str, needs: &[&str]) -> Node {
    let mut node = Node { version: version(at), dependencies: vec![], framework: None };
    for need in needs {
        let (name, constraint) = need.trim_start_matches('?').split_once(' ').unwrap();
        let constraint = Constraint::parse(constraint).unwrap();
        match name {
            "framework" => node.framework = Some(constraint),
            _ => node.dependencies.push(Need { name: name.to_owned(), constraint, optional: need.starts_with('?') }),
        }
    }
    node
}

fn revision(name: &str, node: &Node) -> RevisionId {
    RevisionId(format!("{name}@{}", node.version))
}

/// Name, version, needs.
type Sketch<'a> = (&'a str, &'a str, &'a [&'a str]);

fn set(plugins: &[Sketch<'_>]) -> Set {
    let member = |(place, (name, at, needs)): (usize, &Sketch<'_>)| {
        let node = node(at, needs);
        ((*name).to_owned(), SetMember { revision: revision(name, &node), node, priority: 100, place })
    };
    plugins.iter().enumerate().map(member).collect()
}

#[derive(Default)]
struct Host {
    plugins: BTreeMap<String, Member>,
}

impl Host {
    fn candidate(mut self, name: &str, at: &str, needs: &[&str]) -> Self {
        let node = node(at, needs);
        self.plugins.entry(name.to_owned()).or_default().candidate = Some((revision(name, &node), node));
        self
    }

    fn stable(mut self, name: &str, at: &str, needs: &[&str]) -> Self {
        let node = node(at, needs);
        self.plugins.entry(name.to_owned()).or_default().stable = Some((revision(name, &node), node));
        self
    }

    fn running(self, name: &str, at: &str, needs: &[&str]) -> Self {
        self.candidate(name, at, needs).stable(name, at, needs)
    }

    fn resolve(self) -> Resolution {
        resolve(&Input { framework: version("1.5.0"), plugins: self.plugins })
    }
}

fn target(resolution: &Resolution) -> Vec<&str> {
    resolution.target.values().map(|revision| revision.0.as_str()).collect()
}

fn problems(resolution: &Resolution, name: &str) -> String {
    resolution.verdicts[name].to_string()
}

#[test]
fn a_good_set_has_no_faults() {
    let good = set(&[
        ("admin", "1.0.0", &["auth >=1.0.0", "user *"]),
        ("user", "1.0.0", &["auth ^1.0.0", "framework >=1.0.0,<2.0.0"]),
        ("auth", "1.2.0", &["?absent >=1.0.0"]),
    ]);
    assert_eq!(check(&version("1.5.0"), &good), []);
    assert_eq!(load_order(&good), ["auth", "user", "admin"]);
    let graph = graph(&good);
    assert_eq!(graph["auth"], Vec::<String>::new());
    assert_eq!(graph["user"], ["auth"]);
    assert_eq!(graph["admin"], ["auth", "user"]);
}

#[test]
fn texts() {
    let table: [(&[Sketch<'_>], &[&str]); 9] = [
        (
            &[("auth-plugin", "1.0.0", &["cache-plugin >=2.0.0"])],
            &["missing dependency: plugin 'auth-plugin' requires 'cache-plugin' version '>=2.0.0'"],
        ),
        (
            &[("auth-plugin", "1.0.0", &["cache-plugin >=2.0.0"]), ("cache-plugin", "1.5.0", &[])],
            &["version mismatch: plugin 'auth-plugin' requires 'cache-plugin' >=2.0.0, found 1.5.0"],
        ),
        (
            &[("a", "1.0.0", &["?b >=2.0.0"]), ("b", "1.5.0", &[])],
            &["version mismatch: plugin 'a' requires 'b' >=2.0.0, found 1.5.0"],
        ),
        (&[("a", "1.0.0", &["?b >=2.0.0"])], &[]),
        (
            &[("a", "1.0.0", &["framework >=2.0.0"])],
            &["framework version mismatch: plugin requires >=2.0.0, found 1.5.0"],
        ),
        (
            &[
                ("plugin-c", "1.0.0", &["plugin-a *"]),
                ("plugin-a", "1.0.0", &["plugin-b *"]),
                ("plugin-b", "1.0.0", &["plugin-c *"]),
            ],
            &["circular dependency detected: plugin-a -> plugin-b -> plugin-c -> plugin-a"],
        ),
        (&[("a", "1.0.0", &["a *"])], &["circular dependency detected: a -> a"]),
        (
            &[
                ("a", "1.0.0", &["b *"]),
                ("b", "1.0.0", &["a *"]),
                ("c", "1.0.0", &["d *"]),
                ("d", "1.0.0", &["c *", "a *"]),
            ],
            &["circular dependency detected: a -> b -> a", "circular dependency detected: c -> d -> c"],
        ),
        (
            &[
                ("a", "1.0.0", &["b *", "c *"]),
                ("b", "1.0.0", &["a *"]),
                ("c", "1.0.0", &["a *"]),
                ("z", "1.0.0", &["a *"]),
            ],
            &["circular dependency detected: a -> b -> a", "circular dependency detected: a -> c -> a"],
        ),
    ];
    for (plugins, wanted) in table {
        let errors = check(&version("1.5.0"), &set(plugins));
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), wanted);
        assert!(errors.iter().all(|error| !error.fix().is_empty()));
    }
}

#[test]
fn the_graph_can_be_read_of_a_cycle() {
    let cyclic = set(&[("a", "1.0.0", &["b *"]), ("b", "1.0.0", &["a *", "a >=1.0.0", "gone *", "?absent *"])]);
    assert_eq!(
        graph(&cyclic),
        BTreeMap::from([("a".into(), vec!["b".into()]), ("b".into(), vec!["a".into(), "gone".into()])])
    );
}

#[test]
fn order_by_dependencies_then_priority_then_place_then_name() {
    let mut plugins = set(&[("c", "1.0.0", &[]), ("b", "1.0.0", &[]), ("a", "1.0.0", &[])]);
    assert_eq!(load_order(&plugins), ["c", "b", "a"]);
    plugins.get_mut("a").unwrap().priority = 200;
    plugins.get_mut("b").unwrap().priority = 150;
    assert_eq!(load_order(&plugins), ["a", "b", "c"]);
    plugins.get_mut("a").unwrap().node = node("1.0.0", &["c *"]);
    assert_eq!(load_order(&plugins), ["b", "c", "a"]);
    plugins.values_mut().for_each(|member| (member.place, member.priority) = (0, 0));
    assert_eq!(load_order(&plugins), ["b", "c", "a"]);
    plugins.get_mut("a").unwrap().node = node("1.0.0", &["?c *", "?c *", "?gone *"]);
    assert_eq!(load_order(&plugins), ["b", "c", "a"]);
    plugins.get_mut("c").unwrap().node = node("1.0.0", &["a *"]);
    assert_eq!(load_order(&plugins), ["b", "a", "c"], "a cycle is broken, not dropped");
}

#[test]
fn candidates_that_fit_are_taken() {
    let resolution = Host::default()
        .candidate("auth", "1.2.0", &["cache >=2.0.0", "?log *", "framework >=1.0.0,<2.0.0"])
        .candidate("cache", "2.0.0", &[])
        .resolve();
    assert_eq!(target(&resolution), ["auth@1.2.0", "cache@2.0.0"]);
    assert_eq!(resolution.load_order, ["cache", "auth"]);
    assert!(resolution.verdicts.values().all(|v| v.is_resolved() && v.standing == Standing::Candidate));
}

#[test]
fn a_fault_stays_with_its_plugin() {
    let resolution = Host::default()
        .candidate("missing", "1.0.0", &["nobody >=1.0.0"])
        .candidate("mismatch", "1.0.0", &["good >=2.0.0"])
        .candidate("framework", "1.0.0", &["framework >=2.0.0"])
        .candidate("x", "1.0.0", &["y *"])
        .candidate("y", "1.0.0", &["z *"])
        .candidate("z", "1.0.0", &["x *"])
        .candidate("self", "1.0.0", &["self *"])
        .candidate("above", "1.0.0", &["x *"])
        .candidate("good", "1.0.0", &[])
        .resolve();
    assert_eq!(target(&resolution), ["good@1.0.0"]);
    let circle = "circular dependency detected: x -> y -> z -> x";
    let texts = [
        ("missing", "missing dependency: plugin 'missing' requires 'nobody' version '>=1.0.0'"),
        ("mismatch", "version mismatch: plugin 'mismatch' requires 'good' >=2.0.0, found 1.0.0"),
        ("framework", "framework version mismatch: plugin requires >=2.0.0, found 1.5.0"),
        ("x", circle),
        ("y", circle),
        ("z", circle),
        ("self", "circular dependency detected: self -> self"),
        ("above", "missing dependency: plugin 'above' requires 'x' version '*'"),
        ("good", ""),
    ];
    for (name, text) in texts {
        assert_eq!(problems(&resolution, name), text);
        assert_eq!(resolution.verdicts[name].fixes().is_empty(), name == "good");
    }
}

#[test]
fn an_upgrade_that_a_running_plugin_refuses_is_held_back() {
    let resolution = Host::default()
        .running("a", "1.0.0", &["b <2.0.0"])
        .stable("b", "1.0.0", &[])
        .candidate("b", "2.0.0", &[])
        .resolve();
    assert_eq!(target(&resolution), ["a@1.0.0", "b@1.0.0"]);
    assert_eq!(resolution.verdicts["b"].standing, Standing::Stable);
    assert_eq!(problems(&resolution, "b"), "version mismatch: plugin 'a' requires 'b' <2.0.0, found 2.0.0");
    assert!(resolution.verdicts["a"].is_resolved());
    assert_eq!(resolution.verdicts["a"].standing, Standing::Candidate);
}

#[test]
fn two_that_need_each_other_s_new_version_go_together_or_not_at_all() {
    let host = || {
        Host::default().stable("a", "1.0.0", &["b <2.0.0"]).stable("b", "1.0.0", &[]).running("c", "1.0.0", &["b *"])
    };
    let both = host().candidate("a", "2.0.0", &["b >=2.0.0"]).candidate("b", "2.0.0", &[]).resolve();
    assert_eq!(target(&both), ["a@2.0.0", "b@2.0.0", "c@1.0.0"]);
    let first = host().candidate("a", "2.0.0", &["b >=2.0.0"]).candidate("b", "1.0.0", &[]).resolve();
    assert_eq!(target(&first), ["a@1.0.0", "b@1.0.0", "c@1.0.0"]);
    assert_eq!(problems(&first, "a"), "version mismatch: plugin 'a' requires 'b' >=2.0.0, found 1.0.0");
    let a_failed = host().candidate("b", "2.0.0", &[]).resolve();
    assert_eq!(target(&a_failed), ["a@1.0.0", "b@1.0.0", "c@1.0.0"]);
    assert!(a_failed.verdicts["a"].is_resolved());
    assert_eq!(problems(&a_failed, "b"), "version mismatch: plugin 'a' requires 'b' <2.0.0, found 2.0.0");
}

#[test]
fn a_newcomer_that_cannot_stay_holds_nobody_back() {
    let broken_anyway = Host::default()
        .candidate("new", "1.0.0", &["b <2.0.0", "nobody *"])
        .stable("b", "1.0.0", &[])
        .candidate("b", "2.0.0", &[])
        .resolve();
    assert_eq!(target(&broken_anyway), ["b@2.0.0"]);
    let at_odds = Host::default()
        .candidate("new", "1.0.0", &["b <2.0.0", "e *"])
        .candidate("e", "1.0.0", &["b >=2.0.0"])
        .stable("b", "1.0.0", &[])
        .candidate("b", "2.0.0", &[])
        .resolve();
    assert_eq!(target(&at_odds), ["b@2.0.0", "e@1.0.0"]);
    assert_eq!(problems(&at_odds, "new"), "version mismatch: plugin 'new' requires 'b' <2.0.0, found 2.0.0");
    assert!(at_odds.verdicts["b"].is_resolved() && at_odds.verdicts["e"].is_resolved());
}

#[test]
fn the_changed_members_of_a_cycle_fall_back() {
    let resolution = Host::default()
        .stable("a", "1.0.0", &[])
        .candidate("a", "2.0.0", &["b *"])
        .running("b", "1.0.0", &["c *"])
        .stable("c", "1.0.0", &[])
        .candidate("c", "2.0.0", &["a *"])
        .resolve();
    assert_eq!(target(&resolution), ["a@1.0.0", "b@1.0.0", "c@1.0.0"]);
    for name in ["a", "c"] {
        assert_eq!(problems(&resolution, name), "circular dependency detected: a -> b -> c -> a");
    }
    assert!(resolution.verdicts["b"].is_resolved());
}

#[test]
fn what_runs_is_never_taken_away_by_others() {
    let disabled = Host::default().running("auth", "1.0.0", &["cache >=2.0.0"]).resolve();
    assert_eq!(target(&disabled), ["auth@1.0.0"]);
    let text = "missing dependency: plugin 'auth' requires 'cache' version '>=2.0.0'";
    assert_eq!(problems(&disabled, "auth"), text);
    let other_framework = Host::default().running("auth", "1.0.0", &["framework >=2.0.0"]).resolve();
    assert_eq!(target(&other_framework), ["auth@1.0.0"]);
    assert_eq!(problems(&other_framework, "auth"), "framework version mismatch: plugin requires >=2.0.0, found 1.5.0");
    let installed_anew =
        Host::default().running("auth", "1.0.0", &["cache >=2.0.0"]).candidate("cache", "1.0.0", &[]).resolve();
    assert_eq!(target(&installed_anew), ["auth@1.0.0"], "rather without it than beside what it refuses");
    assert_eq!(
        problems(&installed_anew, "cache"),
        "version mismatch: plugin 'auth' requires 'cache' >=2.0.0, found 1.0.0"
    );
    assert_eq!(problems(&installed_anew, "auth"), text);
}

#[test]
fn without_candidate_the_stable_one_serves() {
    let resolution = Host::default().stable("a", "1.0.0", &[]).resolve();
    assert_eq!(target(&resolution), ["a@1.0.0"]);
    assert_eq!(resolution.verdicts["a"], Verdict { standing: Standing::Stable, problems: vec![] });
    let nothing =
        resolve(&Input { framework: version("1.0.0"), plugins: [("a".to_owned(), Member::default())].into() });
    assert!(nothing.target.is_empty() && nothing.load_order.is_empty());
    assert_eq!(nothing.verdicts["a"].standing, Standing::Absent);
}

#[test]
fn change_groups_move_what_belongs_together() {
    let old = set(&[
        ("cache", "1.0.0", &[]),
        ("auth", "1.0.0", &["cache *"]),
        ("log", "1.0.0", &[]),
        ("leaving", "1.0.0", &["gone-too *"]),
        ("gone-too", "1.0.0", &[]),
        ("same", "1.0.0", &["cache *", "log *"]),
        ("wishes", "1.0.0", &["?log *"]),
        ("metrics", "1.0.0", &[]),
        ("insists", "1.0.0", &["?metrics <2.0.0"]),
    ]);
    let new = set(&[
        ("cache", "2.0.0", &[]),
        ("auth", "2.0.0", &["cache >=2.0.0"]),
        ("log", "2.0.0", &[]),
        ("same", "1.0.0", &["cache *", "log *"]),
        ("wishes", "2.0.0", &["?log *"]),
        ("metrics", "2.0.0", &[]),
        ("insists", "2.0.0", &["?metrics >=2.0.0"]),
        ("fresh", "1.0.0", &["auth *"]),
    ]);
    let groups = change_groups(&old, &new).into_iter().map(|group| group.plugins).collect::<Vec<_>>();
    assert_eq!(
        groups,
        vec![
            vec!["cache", "auth", "fresh"],
            vec!["log"],
            vec!["gone-too", "leaving"],
            vec!["wishes"],
            vec!["metrics", "insists"]
        ]
    );
    assert_eq!(change_groups(&new, &new), []);
}

#[test]
fn at_a_start_the_versions_to_return_to_join_groups() {
    let fallback = set(&[("c", "1.0.0", &[])]);
    let new = set(&[("c", "2.0.0", &[]), ("d", "2.0.0", &["?c >=2.0.0"])]);
    let groups = |fallback: &Set| change_groups_before(&Set::new(), &new, fallback).len();
    assert_eq!((groups(&fallback), groups(&Set::new())), (1, 2), "d may lack c, but not run beside 1.0.0");
}

/// Constraints and versions few enough to meet and to miss each other.
fn arbitrary_node(names: usize) -> impl Strategy<Value = Node> {
    let constraint = prop::sample::select(vec!["*", "1.0.0", ">=2.0.0", "<2.0.0", ">=1.0.0,<3.0.0"]);
    let need = (0..names, constraint, prop::bool::weighted(0.25)).prop_map(|(to, constraint, optional)| Need {
        name: format!("p{to}"),
        constraint: Constraint::parse(constraint).unwrap(),
        optional,
    });
    let framework = option::weighted(0.05, prop::sample::select(vec![">=2.0.0", "<2.0.0"]));
    (1..4_u64, vec(need, 0..3), framework).prop_map(|(major, dependencies, framework)| Node {
        version: Version::new(major, 0, 0),
        dependencies,
        framework: framework.map(|text| Constraint::parse(text).unwrap()),
    })
}

fn arbitrary_input() -> impl Strategy<Value = Input> {
    let member = (option::of(arbitrary_node(9)), option::of(arbitrary_node(9)), any::<bool>(), -1..2_i32);
    vec(member, 0..9).prop_map(|members| {
        type Parts = (Option<Node>, Option<Node>, bool, i32);
        let member = |(at, (candidate, stable, unchanged, priority)): (usize, Parts)| {
            let name = format!("p{at}");
            let name_it = |kind: &str, node: Node| (RevisionId(format!("{name}-{kind}")), node);
            let stable = stable.map(|node| name_it("s", node));
            let candidate = if unchanged { stable.clone() } else { candidate.map(|node| name_it("c", node)) };
            (name, Member { candidate, stable, priority, ..Member::default() })
        };
        Input { framework: Version::new(1, 5, 0), plugins: members.into_iter().enumerate().map(member).collect() }
    })
}

/// Keeps of the stable revisions only what fits together, as what was promoted always does.
fn with_sound_stable_set(mut input: Input) -> Input {
    let only_stable = input.plugins.iter().map(|(name, member)| {
        (name.clone(), Member { candidate: member.stable.clone(), stable: None, ..member.clone() })
    });
    let sound = resolve(&Input { framework: input.framework.clone(), plugins: only_stable.collect() });
    for (name, member) in &mut input.plugins {
        member.stable = member.stable.take().filter(|_| sound.target.contains_key(name));
    }
    input
}

fn chosen<'a>(input: &'a Input, resolution: &Resolution, name: &str) -> Option<&'a Node> {
    let member = input.plugins.get(name)?;
    let revision = resolution.target.get(name)?;
    [&member.candidate, &member.stable].into_iter().flatten().find(|(id, _)| id == revision).map(|(_, node)| node)
}

fn as_set(input: &Input, resolution: &Resolution) -> Set {
    let member = |(name, revision): (&String, &RevisionId)| {
        let node = chosen(input, resolution, name).unwrap().clone();
        let Member { priority, place, .. } = input.plugins[name];
        (name.clone(), SetMember { revision: revision.clone(), node, priority, place })
    };
    resolution.target.iter().map(member).collect()
}

fn assert_order(set: &Set, order: &[String]) {
    assert_eq!(order.len(), set.len());
    let at = |name: &str| order.iter().position(|other| other == name);
    for (name, member) in set {
        for need in &member.node.dependencies {
            assert!(at(&need.name) < at(name), "{} loads before {name}", need.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_sound_stable_set_gives_a_sound_target(input in arbitrary_input().prop_map(with_sound_stable_set)) {
        let resolution = resolve(&input);
        let set = as_set(&input, &resolution);
        prop_assert_eq!(check(&input.framework, &set), vec![]);
        assert_order(&set, &resolution.load_order);
        prop_assert_eq!(&load_order(&set), &resolution.load_order);
        for (name, member) in &input.plugins {
            let verdict = &resolution.verdicts[name];
            let at = chosen(&input, &resolution, name);
            match verdict.standing {
                Standing::Candidate => prop_assert_eq!(at, member.candidate.as_ref().map(|(_, node)| node)),
                Standing::Stable => prop_assert_eq!(at, member.stable.as_ref().map(|(_, node)| node)),
                Standing::Absent => prop_assert!(at.is_none() && member.stable.is_none()),
            }
            let wanted = verdict.standing == Standing::Candidate || member.candidate.is_none();
            prop_assert_eq!(verdict.is_resolved(), wanted, "{}: {:?}", name, verdict);
        }
    }

    #[test]
    fn an_unsound_stable_set_gets_no_worse(input in arbitrary_input()) {
        let resolution = resolve(&input);
        let set = as_set(&input, &resolution);
        for (name, member) in &input.plugins {
            prop_assert!(member.stable.is_none() || resolution.target.contains_key(name), "{} was taken away", name);
        }
        for (name, member) in &set {
            let unmet = member.node.dependencies.iter().filter(|need| !need.is_met(set.get(&need.name).map(|m| &m.node.version)));
            for need in unmet.filter(|need| need.name != *name) {
                let (_, stable) = input.plugins[name].stable.as_ref().unwrap();
                prop_assert_eq!(stable, &member.node);
                let of_other = input.plugins.get(&need.name).and_then(|other| other.stable.as_ref());
                prop_assert!(!need.is_met(of_other.map(|(_, node)| &node.version)));
                prop_assert!(!resolution.verdicts[name].is_resolved());
            }
        }
        prop_assert_eq!(resolution.load_order.len(), set.len());
    }

    #[test]
    fn places_and_priorities_do_not_change_what_is_chosen(input in arbitrary_input(), priorities in vec(any::<i32>(), 9)) {
        let first = resolve(&input);
        let mut other = input;
        for (member, priority) in other.plugins.values_mut().zip(priorities) {
            (member.priority, member.place) = (priority, priority.unsigned_abs() as usize);
        }
        let second = resolve(&other);
        prop_assert_eq!(first.target, second.target);
        prop_assert_eq!(first.verdicts, second.verdicts);
    }

    /// The names give an order too: another naming is another order.
    #[test]
    fn names_do_not_change_what_is_chosen(input in arbitrary_input(), shuffled in Just((0..9).collect::<Vec<usize>>()).prop_shuffle()) {
        let rename = |name: &str| name[1..].parse().map(|at: usize| format!("p{}", shuffled[at])).unwrap();
        let rename_node = |(id, node): &(RevisionId, Node)| {
            let mut node = node.clone();
            node.dependencies.iter_mut().for_each(|need| need.name = rename(&need.name));
            (id.clone(), node)
        };
        let renamed = input.plugins.iter().map(|(name, member)| {
            let (candidate, stable) = (member.candidate.as_ref().map(rename_node), member.stable.as_ref().map(rename_node));
            (rename(name), Member { candidate, stable, ..member.clone() })
        });
        let renamed = Input { framework: input.framework.clone(), plugins: renamed.collect() };
        let first = resolve(&input).target.into_iter().map(|(name, id)| (rename(&name), id)).collect::<BTreeMap<_, _>>();
        prop_assert_eq!(first, resolve(&renamed).target);
    }

    #[test]
    fn random_graphs_load_in_order(edges in vec((0..30_usize, 0..30_usize), 0..80), absent in subsequence((0..30).collect::<Vec<usize>>(), 0..5)) {
        let mut plugins = (0..30_usize).filter(|at| !absent.contains(at)).map(|at| {
            (format!("p{at:02}"), SetMember { revision: RevisionId(String::new()), node: node("1.0.0", &[]), priority: 0, place: 0 })
        }).collect::<Set>();
        for (a, b) in edges.into_iter().filter(|(a, b)| a != b) {
            let (from, to) = (format!("p{:02}", a.max(b)), format!("p{:02}", a.min(b)));
            if plugins.contains_key(&to) && let Some(member) = plugins.get_mut(&from) {
                member.node.dependencies.push(Need { name: to, constraint: Constraint::parse("*").unwrap(), optional: false });
            }
        }
        assert_order(&plugins, &load_order(&plugins));
        prop_assert_eq!(check(&Version::new(1, 0, 0), &plugins), vec![]);
    }

    #[test]
    fn change_groups_partition_what_changed(old in arbitrary_input(), new in arbitrary_input()) {
        let (old, new) = (as_set(&old, &resolve(&old)), as_set(&new, &resolve(&new)));
        let groups = change_groups(&old, &new);
        let mut grouped = groups.iter().flat_map(|group| group.plugins.clone()).collect::<Vec<_>>();
        grouped.sort();
        let names = old.keys().chain(new.keys()).cloned().collect::<std::collections::BTreeSet<_>>();
        let changed = names.into_iter().filter(|name| old.get(name).map(|m| &m.revision) != new.get(name).map(|m| &m.revision));
        prop_assert_eq!(&grouped, &changed.collect::<Vec<_>>());
        let group_of = |name: &str| groups.iter().position(|group| group.plugins.iter().any(|other| other == name));
        for (name, member) in old.iter().chain(&new) {
            for need in member.node.dependencies.iter().filter(|need| !need.optional) {
                if let (Some(one), Some(other)) = (group_of(name), group_of(&need.name)) {
                    prop_assert_eq!(one, other);
                }
            }
        }
    }
}

/// Not asserted: prints what the worst shapes cost. Run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn cost_of_ten_thousand() {
    let name = |at: usize| format!("plugin-{at:05}");
    let chain = |first: &str| {
        (0..10_000).fold(Host::default(), |host, at: usize| {
            let below =
                at.checked_sub(1).map_or_else(|| first.to_owned(), |below| format!("{} >=1.0.0,<2.0.0", name(below)));
            host.candidate(&name(at), "1.0.0", &[below.as_str()])
        })
    };
    let wide = (0..10_000).fold(Host::default(), |host, at: usize| {
        let needs = (1..=5)
            .filter_map(|step| at.checked_sub(step * 7))
            .map(|to| format!("{} ^1.0.0", name(to)))
            .collect::<Vec<_>>();
        let needs = needs.iter().map(String::as_str).collect::<Vec<_>>();
        host.stable(&name(at), "1.0.0", &needs).candidate(&name(at), "1.1.0", &needs)
    });
    let pairs = (0..10_000)
        .fold(Host::default(), |host, at: usize| host.candidate(&name(at), "1.0.0", &[&format!("{} *", name(at ^ 1))]));
    let star = (1..10_000)
        .fold(Host::default(), |host, at: usize| host.candidate(&name(at), "1.0.0", &[&format!("{} *", name(0))]));
    let hub = (1..10_000).map(|at| format!("{} *", name(at))).collect::<Vec<_>>();
    let star = star.candidate(&name(0), "1.0.0", &hub.iter().map(String::as_str).collect::<Vec<_>>());
    let shapes = [
        ("wide", wide),
        ("sound chain", chain("framework *")),
        ("broken chain", chain("nobody *")),
        ("pairs", pairs),
        ("star", star),
    ];
    for (shape, host) in shapes {
        let input = Input { framework: version("1.5.0"), plugins: host.plugins };
        let run = |_| {
            let started = Instant::now();
            let resolution = resolve(&input);
            (started.elapsed(), resolution.target.len())
        };
        let fastest = (0..20).map(run).min();
        eprintln!("{shape}: {fastest:?} (time, plugins in the target)");
    }
}
