//! Bounds and cleans texts that come from plugins before they are stored, logged or shown. Pure.

/// The longest text of a failure in a record, a condition or a Hello, in bytes.
pub const MAX_FAILURE: usize = 1024;
/// The longest text of a failure in `status.rollout`, in bytes.
pub const MAX_STORED: usize = 512;
/// The longest text of a failure in a log line, in bytes.
pub const MAX_LOGGED: usize = 4096;

const ELLIPSIS: &str = "…";

/// Returns the text with control characters escaped, cut to at most `max` bytes; a cut text ends in `…`.
#[must_use]
pub fn bounded(text: &str, max: usize) -> String {
    let mut bounded = String::new();
    for character in text.chars() {
        let escaped = escape(character);
        if bounded.len() + escaped.len() > max {
            return cut(bounded, max);
        }
        bounded.push_str(&escaped);
    }
    bounded
}

fn escape(character: char) -> String {
    if is_shown(character) { character.to_string() } else { character.escape_default().to_string() }
}

/// Tells whether a character is shown as it is: no control character, none that changes the direction of text.
fn is_shown(character: char) -> bool {
    let turns_text = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !character.is_control() && !turns_text
}

fn cut(mut text: String, max: usize) -> String {
    let room = max.saturating_sub(ELLIPSIS.len());
    let end = (0..=room.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    text.truncate(end);
    if max >= ELLIPSIS.len() {
        text.push_str(ELLIPSIS);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_stays_as_it_is() {
        assert_eq!(bounded("no key: café", MAX_STORED), "no key: café");
        assert_eq!(bounded(&"x".repeat(512), 512).len(), 512);
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_so() {
        for max in 0..40 {
            let text = bounded(&"é".repeat(100), max);
            assert!(text.len() <= max, "{max}: {text}");
            assert!(max < 3 || text.ends_with('…'));
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(bounded("a\u{1b}[31m\nb\tc\u{202e}", MAX_LOGGED), r"a\u{1b}[31m\nb\tc\u{202e}");
    }
}
