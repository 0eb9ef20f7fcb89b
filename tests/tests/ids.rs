//! Holds `reference.txt` against the tests: each ID has one, each test has an ID, each asserts something. Reads sources only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A requirement of the list.
struct Requirement {
    id: String,
    /// Whether only a cluster shows it.
    cluster: bool,
}

/// A test function in a source file.
struct Test {
    name: String,
    body: String,
}

#[test]
fn every_requirement_has_a_test() {
    let tested = tested();
    for Requirement { id, cluster } in requirements() {
        let place = if cluster { "e2e" } else { "tests/tests/reference" };
        assert!(tested.contains(&(id.clone(), cluster)), "{id} has no test {}_… in {place}", prefix(&id));
    }
}

#[test]
fn every_test_belongs_to_a_requirement() {
    let known: BTreeMap<_, _> = requirements().into_iter().map(|r| (r.id, r.cluster)).collect();
    // A cluster may show again what a test here shows, not the other way round.
    let is_known = |(id, cluster): &(String, bool)| known.get(id).is_some_and(|only| *cluster || !only);
    let strange: Vec<_> = tested().into_iter().filter(|test| !is_known(test)).collect();
    assert!(strange.is_empty(), "no such requirements in tests/reference.txt: {strange:?}");
    let nameless: Vec<_> = tests().into_iter().map(|t| t.name).filter(|name| id_of(name).is_none()).collect();
    assert!(nameless.is_empty(), "named by no ID: {nameless:?}");
}

#[test]
fn every_test_asserts() {
    let idle: Vec<_> = tests().into_iter().filter(|t| !t.body.contains("assert")).map(|t| t.name).collect();
    assert!(idle.is_empty(), "assert nothing: {idle:?}");
}

#[test]
fn the_list_is_sound() {
    let requirements = requirements();
    let ids: BTreeSet<_> = requirements.iter().map(|r| r.id.clone()).collect();
    assert_eq!((requirements.len(), ids.len()), (247, 247));
    assert!(ids.iter().all(|id| id_of(&format!("{}_x", prefix(id))).as_ref() == Some(id)));
    assert_eq!(id_of("r1_1_14_the_steps").as_deref(), Some("1.1.14"));
    assert_eq!(id_of("rq_1_get").as_deref(), Some("Q.1"));
    assert_eq!(id_of("reload"), None);
}

fn requirements() -> Vec<Requirement> {
    let line = |line: &str| {
        let (id, text) = line.split_once(" | ").unwrap_or_else(|| panic!("not `ID | requirement`: {line}"));
        Requirement { id: id.to_owned(), cluster: text.ends_with(" | cluster") }
    };
    lines("reference.txt").iter().map(|l| line(l)).collect()
}

fn lines(file: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(file)).unwrap();
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// The IDs that have tests, and whether on a cluster.
fn tested() -> BTreeSet<(String, bool)> {
    let here = tests().into_iter().filter_map(|test| Some((id_of(&test.name)?, false)));
    let shell = files(&root().join("../e2e"), "sh").into_iter().flat_map(|text| {
        let functions = text.lines().filter_map(|line| line.strip_suffix("() {")).filter_map(id_of);
        functions.map(|id| (id, true)).collect::<Vec<_>>()
    });
    here.chain(shell).collect()
}

fn tests() -> Vec<Test> {
    files(&root().join("tests/reference"), "rs").iter().flat_map(|text| tests_of(text)).collect()
}

/// The test functions of a formatted source, each from its attribute to the brace in its attribute's column.
fn tests_of(source: &str) -> Vec<Test> {
    let mut tests = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let attribute = line.trim_start();
        if !attribute.starts_with("#[test]") && !attribute.starts_with("#[tokio::test") {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - attribute.len()]);
        let body: Vec<_> = lines.by_ref().take_while(|line| *line != end).collect();
        let head = body.iter().find_map(|line| line.split_once("fn ")).expect("a test without a function").1;
        tests.push(Test { name: head.split('(').next().unwrap().to_owned(), body: body.join("\n") });
    }
    tests
}

fn files(directory: &Path, extension: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| match path.is_dir() {
        true => files(&path, extension),
        false if path.extension().is_some_and(|e| e == extension) => vec![fs::read_to_string(path).unwrap()],
        false => Vec::new(),
    };
    entries.flat_map(read).collect()
}

/// `r1_1_14` for 1.1.14, `rq_1` for Q.1.
fn prefix(id: &str) -> String {
    format!("r{}", id.to_lowercase().replace('.', "_"))
}

/// The ID that a function is named by.
fn id_of(name: &str) -> Option<String> {
    let parts: Vec<_> = name.strip_prefix('r')?.split('_').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match parts[..] {
        [group, number, ..] if ["a", "b", "l", "q", "s"].contains(&group) && is_number(&number) => {
            Some(format!("{}.{number}", group.to_uppercase()))
        }
        [a, b, c, ..] if [a, b, c].iter().all(is_number) => Some(format!("{a}.{b}.{c}")),
        _ => None,
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
