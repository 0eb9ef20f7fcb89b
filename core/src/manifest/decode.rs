//! From a document to a checked manifest, field by field. Pure.

use super::{
    ConfigKey, ConfigType, Dependency, Events, Export, HookDeclaration, HookType, Manifest, ManifestError,
    ManifestFault,
};
use crate::{
    config::{self, ConfigError},
    constraint::Constraint,
    document::{Content, Cursor},
    hint,
    permission::{Permission, Permissions},
};
use indexmap::IndexMap;
use semver::Version;

type Warnings = Vec<String>;
type Result<T> = std::result::Result<T, ManifestError>;

const FIELDS: [&str; 12] = [
    "name",
    "version",
    "description",
    "author",
    "framework",
    "dependencies",
    "permissions",
    "config",
    "hooks",
    "events",
    "exports",
    "command",
];
const LONGEST_NAME: usize = 253;

pub(super) fn manifest(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<Manifest> {
    at.expect_fields(&FIELDS, warnings)?;
    let name = name(at)?;
    let version = version(at)?;
    let description = required(at, "description", &FIELDS)?;
    let author = required(at, "author", &FIELDS)?;
    Ok(Manifest {
        name,
        version,
        description,
        author,
        framework: at.field("framework").map_or(Ok(None), |f| framework(&f, warnings))?,
        dependencies: each(at, "dependencies", |item| dependency(item, warnings))?,
        permissions: at.field("permissions").map_or(Ok(Permissions::new()), |f| permissions(&f))?,
        config: at.field("config").map_or(Ok(IndexMap::new()), |f| config(&f, warnings))?,
        hooks: each(at, "hooks", |item| hook(item, warnings))?,
        events: at.field("events").map_or(Ok(Events::default()), |f| events(&f, warnings))?,
        exports: each(at, "exports", |item| export(item, warnings))?,
        command: at.field("command").map_or(Ok(Vec::new()), |f| f.texts())?,
    })
}

fn name(at: &Cursor<'_>) -> Result<String> {
    let name = required(at, "name", &FIELDS)?;
    if is_name(&name) { Ok(name) } else { Err(fault(&at_field(at, "name"), ManifestFault::InvalidName(name))) }
}

/// Names become file names, labels and parts of resource names.
fn is_name(name: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    name.len() <= LONGEST_NAME
        && name.chars().all(|c| alphanumeric(c) || matches!(c, '-' | '_' | '.'))
        && name.starts_with(alphanumeric)
        && name.ends_with(alphanumeric)
}

fn version(at: &Cursor<'_>) -> Result<Version> {
    let cursor = at_field(at, "version");
    // Unquoted, 1.2 is a number in YAML.
    if matches!(cursor.content(), Content::Number(_)) {
        return Err(fault(&cursor, ManifestFault::InvalidVersion));
    }
    let text = required(at, "version", &FIELDS)?;
    Version::parse(&text).map_err(|_| fault(&cursor, ManifestFault::InvalidVersion))
}

fn framework(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<Option<String>> {
    at.expect_fields(&["version"], warnings)?;
    let Some(version) = at.field("version") else { return Ok(None) };
    let text = version.text()?;
    let invalid = |_| fault(&version, ManifestFault::InvalidFrameworkConstraint(text.to_owned()));
    Constraint::parse(text).map(|c| Some(c.as_str().to_owned())).map_err(invalid)
}

fn dependency(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<Dependency> {
    let known = ["name", "version", "optional"];
    at.expect_fields(&known, warnings)?;
    let name = required(at, "name", &known)?;
    let Some(version) = at.field("version") else { return Err(missing(at, "version", &known)) };
    let text = version.text()?;
    Constraint::parse(text).map_err(|_| fault(&version, ManifestFault::InvalidConstraint(text.to_owned())))?;
    Ok(Dependency { name, version: text.to_owned(), optional: switch(at, "optional")? })
}

fn permissions(at: &Cursor<'_>) -> Result<Permissions> {
    let mut granted = Permissions::new();
    for (name, cursor) in at.fields()? {
        let permission = name.parse::<Permission>().map_err(|e| fault(&cursor, ManifestFault::Permission(e)))?;
        if cursor.flag()? {
            granted.insert(permission);
        }
    }
    Ok(granted)
}

/// The schema of a configuration, its defaults checked.
pub(super) fn config(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<IndexMap<String, ConfigKey>> {
    let mut schema = IndexMap::new();
    for (key, cursor) in at.fields()? {
        schema.insert(key.to_owned(), config_key(&cursor, warnings)?);
    }
    config::check_defaults(&schema).map_err(|error| bad_default(at, error))?;
    Ok(schema)
}

fn config_key(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<ConfigKey> {
    at.expect_fields(&["type", "required", "default", "description"], warnings)?;
    let kind = at.field("type").and_then(|cursor| match cursor.content() {
        Content::String(name) => ConfigType::ALL.into_iter().find(|kind| kind.name() == name),
        _ => None,
    });
    Ok(ConfigKey {
        kind: kind
            .ok_or_else(|| fault(&at.field("type").unwrap_or_else(|| at.clone()), ManifestFault::InvalidConfigType))?,
        required: switch(at, "required")?,
        default: at.field("default").map(|cursor| cursor.value()),
        description: optional_text(at, "description")?,
    })
}

fn bad_default(at: &Cursor<'_>, error: ConfigError) -> ManifestError {
    let ConfigError::WrongDefault { key, .. } = &error else { return fault(at, ManifestFault::ConfigSchema(error)) };
    let default = at.field(key).and_then(|rule| rule.field("default"));
    fault(&default.unwrap_or_else(|| at.clone()), ManifestFault::ConfigSchema(error))
}

fn hook(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<HookDeclaration> {
    let known = ["type", "priority"];
    at.expect_fields(&known, warnings)?;
    let name = required(at, "type", &known)?;
    let kind = name.parse::<HookType>().map_err(|e| fault(&at_field(at, "type"), ManifestFault::HookType(e)))?;
    let priority = at.field("priority").map(|cursor| cursor.integer("a 32-bit integer")).transpose()?;
    Ok(HookDeclaration { kind, priority })
}

fn events(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<Events> {
    at.expect_fields(&["publishes", "subscribes"], warnings)?;
    let names = |field| at.field(field).map_or(Ok(Vec::new()), |cursor| cursor.texts());
    Ok(Events { publishes: names("publishes")?, subscribes: names("subscribes")? })
}

fn export(at: &Cursor<'_>, warnings: &mut Warnings) -> Result<Export> {
    let known = ["name", "description"];
    at.expect_fields(&known, warnings)?;
    Ok(Export { name: required(at, "name", &known)?, description: optional_text(at, "description")? })
}

fn each<T>(at: &Cursor<'_>, field: &str, decode: impl FnMut(&Cursor<'_>) -> Result<T>) -> Result<Vec<T>> {
    let Some(list) = at.field(field) else { return Ok(Vec::new()) };
    list.items()?.iter().map(decode).collect()
}

fn required(at: &Cursor<'_>, field: &str, known: &[&str]) -> Result<String> {
    let text = at.field(field).map(|cursor| cursor.text().map(str::to_owned)).transpose()?;
    text.filter(|text| !text.trim().is_empty()).ok_or_else(|| missing(at, field, known))
}

fn optional_text(at: &Cursor<'_>, field: &str) -> Result<String> {
    Ok(at.field(field).map(|cursor| cursor.text().map(str::to_owned)).transpose()?.unwrap_or_default())
}

fn switch(at: &Cursor<'_>, field: &str) -> Result<bool> {
    Ok(at.field(field).map(|cursor| cursor.flag()).transpose()?.unwrap_or_default())
}

fn at_field<'a>(at: &Cursor<'a>, field: &str) -> Cursor<'a> {
    at.field(field).unwrap_or_else(|| at.clone())
}

/// Says so where the field is there under a mistyped name.
fn missing(at: &Cursor<'_>, field: &str, known: &[&str]) -> ManifestError {
    let names = at.fields().unwrap_or_default();
    let is_typo = |name: &str| !known.contains(&name) && hint::nearest(name, known.iter().copied()) == Some(field);
    let typo = names.iter().find(|(name, _)| is_typo(name));
    let typo = typo.map(|(name, _)| hint::unknown("field", name, known.iter().copied()));
    let path = at.path_of(field);
    let fault = ManifestFault::MissingField { field: path.clone(), typo };
    ManifestError { fault: Box::new(fault), field: path, place: at.place() }
}

fn fault(at: &Cursor<'_>, fault: ManifestFault) -> ManifestError {
    ManifestError { fault: Box::new(fault), field: at.path().to_owned(), place: at.place() }
}
