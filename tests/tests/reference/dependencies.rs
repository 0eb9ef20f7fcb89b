//! 5: dependencies.

use crate::{
    calls::{alive, requires},
    world::{Plugin, World},
};
use rockstar_core::{
    constraint::Constraint,
    resolve::{Input, Member, Need, Node, resolve},
    revision::RevisionId,
};
use serde_json::{Value, json};

fn optional(name: &str, version: &str) -> Value {
    json!({"dependencies": [{"name": name, "version": version, "optional": true}]})
}

fn framework(constraint: &str) -> Value {
    json!({"framework": {"version": constraint}})
}

/// A sidecar that was given these plugins by its file, whatever came of it.
async fn given(plugins: &[Plugin]) -> World {
    let mut world = World::new();
    plugins.iter().for_each(|p| world.install(p));
    world.configure(plugins);
    world.start();
    world.answering().await;
    for plugin in plugins {
        let settled = || async { ["running", "error"].contains(&world.status(plugin.name).await.as_str()) };
        world.until(&format!("{} to be settled", plugin.name), settled).await;
    }
    world
}

fn cycle(names: [&'static str; 3]) -> [Plugin; 3] {
    let [a, b, c] = names;
    [(a, b), (b, c), (c, a)].map(|(from, to)| alive(from, json!({})).manifest(requires(&[(to, "*")])))
}

#[tokio::test]
async fn r5_1_1_the_framework_s_version_is_checked() {
    let world = World::idle().await;
    assert_eq!(world.load(&alive("p", json!({})).manifest(framework(">=1.0.0,<2.0.0"))).await, Ok(()));
    assert_eq!(world.load(&alive("any", json!({}))).await, Ok(()));
    assert!(world.load(&alive("q", json!({})).manifest(framework("<1.5.0"))).await.is_err());
}

#[tokio::test]
async fn r5_1_2_framework_version_mismatch() {
    let world = World::idle().await;
    let error = world.load(&alive("p", json!({})).manifest(framework(">=2.0.0"))).await;
    let text = "framework version mismatch: plugin requires >=2.0.0, found 1.5.0";
    assert_eq!(error, Err(text.to_owned()));
    let world = given(&[alive("p", json!({})).manifest(framework(">=2.0.0"))]).await;
    assert_eq!(world.last_error("p").await, text);
}

/// Numbers that look random and are the same at each run: xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// Name, priority, what it requires.
type Sketch = (String, i32, Vec<String>);

/// Each requires some of those before it. Neither names nor priorities, which all differ, follow from that.
fn random_plugins(dice: &mut Dice) -> Vec<Sketch> {
    let count = 2 + dice.below(30);
    let mut names: Vec<_> = (0..count).map(|n| format!("p{n:02}")).collect();
    let mut priorities: Vec<i32> = (0..).take(count).collect();
    dice.shuffle(&mut names);
    dice.shuffle(&mut priorities);
    let mut plugins = Vec::new();
    for (at, (name, priority)) in names.iter().zip(priorities).enumerate() {
        let needs = names[..at].iter().filter(|_| dice.below(4) == 0).cloned().collect();
        plugins.push((name.clone(), priority, needs));
    }
    plugins
}

/// Of a file that lists them like this.
fn load_order(plugins: &[Sketch]) -> Vec<String> {
    let need = |name: &String| {
        let (name, constraint) = (name.clone(), Constraint::parse("*").unwrap());
        Need { name, constraint, optional: false }
    };
    let member = |(place, (name, priority, needs)): (usize, &Sketch)| {
        let dependencies = needs.iter().map(need).collect();
        let node = Node { version: "1.0.0".parse().unwrap(), dependencies, framework: None };
        let candidate = Some((RevisionId(name.clone()), node));
        (name.clone(), Member { candidate, stable: None, priority: *priority, place, opaque: None })
    };
    let framework = "1.5.0".parse().unwrap();
    resolve(&Input { framework, plugins: plugins.iter().enumerate().map(member).collect() }).load_order
}

fn assert_valid(plugins: &[Sketch], order: &[String]) {
    assert_eq!(order.len(), plugins.len());
    let place = |name: &String| order.iter().position(|other| other == name).unwrap();
    for (name, _, needs) in plugins {
        assert!(needs.iter().all(|need| place(need) < place(name)), "{name} requires {needs:?}: {order:?}");
    }
}

fn assert_random_graphs_are_ordered() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..300 {
        let mut plugins = random_plugins(&mut dice);
        let order = load_order(&plugins);
        assert_valid(&plugins, &order);
        for _ in 0..5 {
            dice.shuffle(&mut plugins);
            plugins.iter_mut().for_each(|(_, _, needs)| dice.shuffle(needs));
            assert_eq!(load_order(&plugins), order, "{plugins:?}");
        }
    }
}

#[tokio::test]
async fn r5_2_1_the_order_is_topological_and_always_the_same() {
    assert_random_graphs_are_ordered();
    let all = || {
        let with = |name, priority: i32, needs: &[(&str, &str)]| {
            alive(name, json!({})).with(json!({"priority": priority})).manifest(requires(needs))
        };
        vec![
            with("a", 1, &[]),
            with("b", 600, &[("a", "*")]),
            with("c", 500, &[("a", "*"), ("e", "*")]),
            with("d", 400, &[("c", "*"), ("b", "*")]),
            with("e", 2, &[]),
            with("f", 700, &[("d", "*")]),
        ]
    };
    // Dependencies first, then what has the highest priority of those that can come.
    let expected = ["e", "a", "b", "c", "d", "f"];
    let mut shuffled = [all(), all(), all()];
    shuffled[1].reverse();
    shuffled[2].swap(0, 3);
    for plugins in shuffled {
        let world = World::started(&plugins).await;
        assert_eq!(world.names().await, expected);
        let initialized: Vec<_> = expected.iter().map(|name| format!("{name}.Initialize 1.0.0")).collect();
        assert_eq!(world.trace()[..6], initialized);
    }
}

#[tokio::test]
async fn r5_2_2_resolve_dependencies_checks_all() {
    let good = given(&[alive("b", json!({})).manifest(requires(&[("a", "*")])), alive("a", json!({}))]).await;
    assert_eq!(good.resolve_dependencies().await, Ok(()));
    assert_eq!(good.names().await, ["a", "b"]);
    let needs = |version| alive("b", json!({})).manifest(requires(&[("a", version)]));
    let sets = [
        (
            vec![alive("b", json!({})).manifest(framework(">=2.0.0"))],
            "framework version mismatch: plugin requires >=2.0.0, found 1.5.0",
        ),
        (vec![needs(">=1.0.0")], "missing dependency: plugin 'b' requires 'a' version '>=1.0.0'"),
        (
            vec![needs(">=2.0.0"), alive("a", json!({}))],
            "version mismatch: plugin 'b' requires 'a' >=2.0.0, found 1.0.0",
        ),
        (cycle(["a", "b", "c"]).to_vec(), "circular dependency detected: a -> b -> c -> a"),
    ];
    for (plugins, text) in sets {
        assert_eq!(given(&plugins).await.resolve_dependencies().await, Err(text.to_owned()));
    }
}

#[tokio::test]
async fn r5_2_3_the_dependency_graph() {
    let world = World::idle().await;
    world.load(&alive("auth-plugin", json!({}))).await.unwrap();
    world.load(&alive("user-plugin", json!({})).manifest(requires(&[("auth-plugin", "*")]))).await.unwrap();
    let admin = requires(&[("auth-plugin", "*"), ("user-plugin", "*")]);
    world.load(&alive("admin-plugin", json!({})).manifest(admin)).await.unwrap();
    let expected = json!({
        "auth-plugin": [], "user-plugin": ["auth-plugin"], "admin-plugin": ["auth-plugin", "user-plugin"],
    });
    assert_eq!(world.dependency_graph().await, expected);
}

#[tokio::test]
async fn r5_3_1_missing_dependency() {
    let auth = || alive("auth-plugin", json!({})).manifest(requires(&[("cache-plugin", ">=2.0.0")]));
    let text = "missing dependency: plugin 'auth-plugin' requires 'cache-plugin' version '>=2.0.0'";
    assert_eq!(World::idle().await.load(&auth()).await, Err(text.to_owned()));
    let world = given(&[auth(), alive("other", json!({}))]).await;
    assert_eq!(
        (world.last_error("auth-plugin").await.as_str(), world.status("other").await.as_str()),
        (text, "running")
    );
}

#[tokio::test]
async fn r5_3_2_a_missing_optional_dependency_is_no_error() {
    let world = World::idle().await;
    world.running(&alive("p", json!({})).manifest(optional("absent", ">=1.0.0"))).await;
    assert_eq!((world.status("p").await, world.dependency_graph().await), ("running".into(), json!({"p": []})));
}

#[tokio::test]
async fn r5_3_3_a_present_optional_dependency_comes_first() {
    let first = alive("a", json!({})).manifest(optional("z", "*")).with(json!({"priority": 900}));
    let world = World::started(&[first, alive("z", json!({}))]).await;
    assert_eq!(world.trace()[..2], ["z.Initialize 1.0.0", "a.Initialize 1.0.0"]);
    assert_eq!(world.dependency_graph().await, json!({"a": ["z"], "z": []}));
}

#[tokio::test]
async fn r5_3_4_a_disabled_or_unloaded_plugin_satisfies_nothing() {
    let needs = || alive("b", json!({})).manifest(requires(&[("a", ">=1.0.0")]));
    let text = "missing dependency: plugin 'b' requires 'a' version '>=1.0.0'".to_owned();
    let world = World::idle().await;
    [needs(), alive("a", json!({}))].iter().for_each(|p| world.install(p));
    world.write("off.yaml", "plugins:\n  plugins:\n  - {name: a, enabled: false}\n  - name: b\n");
    let error = world.load_config("off.yaml").await.unwrap_err();
    assert_eq!(error, format!("off.yaml: 0 plugins run, 1 do not; b: {text}"));
    let world = World::idle().await;
    world.load(&alive("a", json!({}))).await.unwrap();
    world.unload("a").await.unwrap();
    assert_eq!(world.load(&needs()).await, Err(text));
}

#[tokio::test]
async fn r5_4_1_version_mismatch() {
    let world = World::idle().await;
    world.load(&alive("cache-plugin", json!({})).version("1.5.0")).await.unwrap();
    let auth = alive("auth-plugin", json!({})).manifest(requires(&[("cache-plugin", ">=2.0.0")]));
    let text = "version mismatch: plugin 'auth-plugin' requires 'cache-plugin' >=2.0.0, found 1.5.0";
    assert_eq!(world.load(&auth).await, Err(text.to_owned()));
    let wrong = alive("auth-plugin", json!({})).manifest(optional("cache-plugin", ">=2.0.0"));
    assert_eq!(world.load(&wrong).await, Err(text.to_owned()), "also where it is optional");
}

#[tokio::test]
async fn r5_4_2_a_comma_joins_constraints() {
    let world = World::idle().await;
    for (version, fits) in [("1.4.9", false), ("1.5.0", true), ("2.9.9", true), ("3.0.0", false)] {
        world.load(&alive("cache", json!({})).version(version)).await.unwrap();
        let p = alive("p", json!({})).manifest(requires(&[("cache", ">=1.5.0,<3.0.0")]));
        let expected = match fits {
            true => Ok(()),
            false => Err(format!("version mismatch: plugin 'p' requires 'cache' >=1.5.0,<3.0.0, found {version}")),
        };
        assert_eq!(world.load(&p).await, expected);
        if fits {
            world.unload("p").await.unwrap();
        }
        world.unload("cache").await.unwrap();
    }
}

#[tokio::test]
async fn r5_5_1_a_cycle_is_shown_as_a_whole() {
    let text = "circular dependency detected: plugin-a -> plugin-b -> plugin-c -> plugin-a";
    let world = given(&cycle(["plugin-b", "plugin-c", "plugin-a"])).await;
    for name in ["plugin-a", "plugin-b", "plugin-c"] {
        assert_eq!(world.last_error(name).await, text);
    }
    let two: Vec<_> = cycle(["a", "b", "c"]).into_iter().chain(cycle(["x", "y", "z"])).collect();
    let error = given(&two).await.resolve_dependencies().await.unwrap_err();
    let both = "circular dependency detected: a -> b -> c -> a; circular dependency detected: x -> y -> z -> x";
    assert_eq!(error, both);
}

#[tokio::test]
async fn r5_5_2_a_plugin_that_requires_itself() {
    let error = World::idle().await.load(&alive("a", json!({})).manifest(requires(&[("a", "*")]))).await;
    assert_eq!(error, Err("circular dependency detected: a -> a".to_owned()));
}

#[tokio::test]
async fn r5_5_3_the_graph_shows_a_cycle() {
    let world = given(&cycle(["a", "b", "c"])).await;
    assert!(world.resolve_dependencies().await.is_err());
    assert_eq!(world.dependency_graph().await, json!({"a": ["b"], "b": ["c"], "c": ["a"]}));
}
