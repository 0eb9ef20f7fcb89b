//! What kstatus, Argo CD, Flux and `kubectl wait` make of Plugins and PluginHosts in every state: `health/verdicts.txt`.
//!
//! The objects in `health/states` are composed by the driver (`just health-states`); the Go program in `health` asks the
//! tools' own libraries. The Lua script runs in Argo CD's interpreter there, and once more here in that of lua.org.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A state's name, and KIND/NAME.
type Key = (String, String);

/// In the order of the table's columns.
const TOOLS: [&str; 4] = ["kstatus", "argo", "flux", "wait"];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("health")
}

fn gitops(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/gitops").join(file)
}

fn is_there(program: &str, argument: &str) -> bool {
    let run = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if run.is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(env::var_os("CI").is_none(), "{program} is missing, which tests/prepare installs");
    eprintln!("SKIPPED: {program} is missing, which tests/prepare installs");
    false
}

fn states() -> Vec<PathBuf> {
    let entries = fs::read_dir(directory().join("states")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    paths.sort();
    paths
}

fn objects() -> BTreeMap<Key, Value> {
    let mut objects = BTreeMap::new();
    for path in states() {
        let state = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        for document in text.split("---\n") {
            let object: Value = serde_yaml::from_str(document).unwrap();
            let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap();
            let name = format!("{}/{}", text("/kind"), text("/metadata/name"));
            objects.insert((state.clone(), name), object);
        }
    }
    objects
}

/// The table's cells: of the four tools, then of the status.
fn table() -> BTreeMap<Key, [String; 7]> {
    let text = fs::read_to_string(directory().join("verdicts.txt")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace().map(str::to_owned);
        let key = (words.next().unwrap(), words.next().unwrap());
        let cells = words.collect::<Vec<_>>().try_into().unwrap();
        assert!(rows.insert(key, cells).is_none(), "verdicts.txt has this row twice: {line}");
    }
    rows
}

/// What is wrong with a cell; `!` stands before what the product does not do yet.
fn wrong(expected: &str, said: &str) -> Option<String> {
    match expected.strip_prefix('!') {
        Some(promised) if promised == said => Some(format!("{promised} holds: take the mark away")),
        None if expected != "*" && expected != said => Some(format!("expected {expected}, is {said}")),
        _ => None,
    }
}

/// What each tool says of each object.
fn verdicts() -> BTreeMap<Key, Vec<String>> {
    let mut go = Command::new("go");
    go.args(["run", "."]).arg(gitops("argocd-cm.yaml")).arg(gitops("flux.yaml")).args(states());
    go.current_dir(directory()).env("GOWORK", "off").env("GOFLAGS", "-mod=readonly");
    let output = go.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(verdict).collect()
}

fn verdict(line: &str) -> (Key, Vec<String>) {
    let said: Value = serde_json::from_str(line).unwrap();
    let text = |key: &str| said[key].as_str().unwrap().to_owned();
    ((text("state"), text("object")), TOOLS.map(text).to_vec())
}

/// Its phase, whether it is Available, and how many instances run what the spec asks for.
fn shown(object: &Value) -> [String; 3] {
    let status = &object["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let available = conditions.filter(|condition| condition["type"] == "Available").map(|c| &c["status"]).next();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    [status.get("phase"), available, status.pointer("/instances/updated")]
        .map(|value| value.map_or_else(|| "-".to_owned(), text))
}

#[test]
fn tools_see_the_truth_in_every_state() {
    if !is_there("go", "version") {
        return;
    }
    let (objects, table, verdicts) = (objects(), table(), verdicts());
    assert_eq!(table.keys().collect::<Vec<_>>(), objects.keys().collect::<Vec<_>>(), "rows and objects");
    let mut all = Vec::new();
    for ((key, cells), object) in table.iter().zip(objects.values()) {
        let said = verdicts[key].iter().cloned().chain(shown(object));
        let found = cells.iter().zip(said).filter_map(|(expected, said)| wrong(expected, &said));
        all.extend(found.map(|text| format!("{} {}: {text}", key.0, key.1)));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn the_health_script_says_the_same_in_every_lua() {
    if !is_there("lua5.4", "-v") {
        return;
    }
    let script = fs::read_to_string(gitops("health.lua")).unwrap();
    let (objects, table) = (objects(), table());
    let mut program = format!("local function health(obj)\n{script}\nend\n");
    for object in objects.values() {
        program += &format!("print(health({}).status)\n", lua(object));
    }
    let said = run_lua(&program);
    assert_eq!(said.lines().count(), objects.len());
    for (key, said) in objects.keys().zip(said.lines()) {
        assert_eq!(wrong(&table[key][1], said), None, "{key:?}");
    }
}

fn run_lua(program: &str) -> String {
    let mut lua = Command::new("lua5.4").arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    lua.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    let output = lua.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// A value as a Lua literal.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => lua_text(text),
        Value::Array(items) => format!("{{{}}}", items.iter().map(lua).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| format!("[{}] = {}", lua_text(key), lua(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

fn lua_text(text: &str) -> String {
    let escaped: String = text.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{escaped}\"")
}

#[test]
fn what_users_paste_is_the_script_that_is_tested() {
    let script = fs::read_to_string(gitops("health.lua")).unwrap();
    let patch: Value = serde_yaml::from_str(&fs::read_to_string(gitops("argocd-cm.yaml")).unwrap()).unwrap();
    for kind in ["Plugin", "PluginHost"] {
        let key = format!("resource.customizations.health.plugins.rockstar-framework.dev_{kind}");
        assert_eq!(patch["data"][&key], script.as_str(), "{kind}");
    }
}
