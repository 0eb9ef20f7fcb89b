//! The name of a new plugin: good for its manifest and for a crate. Pure.

use thiserror::Error;

/// Names may be longer, but a file and a crate of that name must be possible.
const LONGEST: usize = 64;
/// Those of Rust that a crate cannot have for a name.
const KEYWORDS: [&str; 42] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "pub", "ref", "return", "self", "static", "struct", "super", "test", "trait", "true", "type", "use",
    "where",
];

#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum NameError {
    #[error(
        "'{0}' cannot be a plugin's name: small letters, digits and single dashes, a letter first, such as my-plugin"
    )]
    Form(String),
    #[error("'{0}' cannot be a plugin's name: longer than {LONGEST} characters")]
    Long(String),
    #[error("'{0}' cannot be a plugin's name: it is a word of Rust; try {0}-plugin")]
    Keyword(String),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name(String);

impl Name {
    pub(super) fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.to_owned();
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let first = text.starts_with(|c: char| c.is_ascii_lowercase());
        if !first || !text.chars().all(known) || text.ends_with('-') || text.contains("--") {
            return Err(NameError::Form(text));
        }
        if text.len() > LONGEST {
            return Err(NameError::Long(text));
        }
        if KEYWORDS.contains(&text.as_str()) {
            return Err(NameError::Keyword(text));
        }
        Ok(Self(text))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// `my-plugin` is `MyPlugin`.
    pub(super) fn of_type(&self) -> String {
        let capital = |part: &str| part[..1].to_ascii_uppercase() + &part[1..];
        match self.0.split('-').map(capital).collect::<String>() {
            // The trait's own name, and others that the template uses.
            taken
                if ["Plugin", "PluginContext", "PluginConfig", "Result", "HookType", "Self"]
                    .contains(&taken.as_str()) =>
            {
                format!("The{taken}")
            }
            free => free,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_manifest_crate_and_type() {
        for (text, of_type) in
            [("my-plugin", "MyPlugin"), ("auth2", "Auth2"), ("a", "A"), ("x-1-y", "X1Y"), ("plugin", "ThePlugin")]
        {
            assert_eq!(Name::parse(text).unwrap().of_type(), of_type);
        }
    }

    #[test]
    fn others_are_refused() {
        for text in ["", "My-Plugin", "1st", "a b", "a/b", "../a", "-a", "a-", "a--b", "a_b", "ä"] {
            assert_eq!(Name::parse(text), Err(NameError::Form(text.into())));
        }
        assert_eq!(Name::parse("match"), Err(NameError::Keyword("match".into())));
        assert!(matches!(Name::parse(&"x".repeat(65)), Err(NameError::Long(_))));
    }
}
