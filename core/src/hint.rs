//! Which known name a mistyped one was meant to be. Pure.

/// Names less alike than this are not offered.
const ALIKE: f64 = 0.8;

/// The known name most like the given one, if any is like it.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(given);
    known
        .into_iter()
        .map(|name| (likeness(&folded, &fold(name)), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, name)| name)
}

/// `unknown field 'descripton', did you mean 'description'?`
#[must_use]
pub fn unknown<'a>(what: &str, given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(given.rsplit('.').next().unwrap_or(given), known) {
        Some(likely) => format!("unknown {what} '{given}', did you mean '{likely}'?"),
        None => format!("unknown {what} '{given}'"),
    }
}

fn likeness(a: &str, b: &str) -> f64 {
    strsim::jaro_winkler(a, b).max(strsim::normalized_damerau_levenshtein(a, b))
}

/// Case and the way words are joined are the commonest slips.
fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] = ["name", "version", "description", "author", "hook_timeout", "permissions"];

    #[test]
    fn offers_the_likely_name() {
        let table = [
            ("descripton", Some("description")),
            ("Version", Some("version")),
            ("hookTimeout", Some("hook_timeout")),
            ("permission", Some("permissions")),
            ("atuhor", Some("author")),
            ("zzz", None),
        ];
        for (given, likely) in table {
            assert_eq!(nearest(given, KNOWN), likely, "{given}");
        }
    }

    #[test]
    fn names_both() {
        assert_eq!(unknown("field", "descripton", KNOWN), "unknown field 'descripton', did you mean 'description'?");
        assert_eq!(unknown("field", "zzz", KNOWN), "unknown field 'zzz'");
        assert_eq!(unknown("field", "plugins[0].nmae", KNOWN), "unknown field 'plugins[0].nmae', did you mean 'name'?");
    }
}
