//! `?` becomes `$1`, `$2`, … where it is a placeholder: outside of quotes and comments. `??` is a question mark, which
//! PostgreSQL has as an operator. Pure.

/// The statement as PostgreSQL reads it.
pub(super) fn numbered(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() + 8);
    let (mut rest, mut count) = (sql, 0_usize);
    while let Some(at) = rest.find(['?', '\'', '"', '$', '-', '/']) {
        let (before, here) = rest.split_at(at);
        out.push_str(before);
        let (taken, text) = match here.as_bytes() {
            [b'?', b'?', ..] => (2, "?".to_owned()),
            [b'?', ..] => placeholder(here, &mut count),
            _ => {
                let length = quoted(before, here);
                (length, here[..length].to_owned())
            }
        };
        out.push_str(&text);
        rest = &here[taken..];
    }
    out.push_str(rest);
    out
}

/// `?3` names the third argument.
fn placeholder(here: &str, count: &mut usize) -> (usize, String) {
    let digits = here[1..].bytes().take_while(u8::is_ascii_digit).count();
    match here[1..=digits].parse() {
        Ok(number) => *count = number,
        Err(_) => *count += 1,
    }
    (1 + digits, format!("${count}"))
}

/// The length of what begins here and must stay as it is: a quoted text, a comment, or a single character.
fn quoted(before: &str, here: &str) -> usize {
    match here.as_bytes() {
        [b'\'', ..] if is_escaping(before) => until_quote(here, b'\'', true),
        [b'\'', ..] => until_quote(here, b'\'', false),
        [b'"', ..] => until_quote(here, b'"', false),
        [b'-', b'-', ..] => here.find('\n').unwrap_or(here.len()),
        [b'/', b'*', ..] => here.len() - super::super::after_block(here).len(),
        [b'$', ..] if !before.ends_with(is_word) => dollars(here),
        _ => 1,
    }
}

/// `E'…'`, in which a backslash escapes.
fn is_escaping(before: &str) -> bool {
    before.strip_suffix(['e', 'E']).is_some_and(|rest| !rest.ends_with(is_word))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// A doubled quote closes one text and opens the next, which comes to the same.
fn until_quote(here: &str, quote: u8, escaping: bool) -> usize {
    let bytes = here.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if escaping => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `$tag$ … $tag$`, or just the sign.
fn dollars(here: &str) -> usize {
    let Some(end) = here[1..].find('$').map(|at| at + 2) else { return 1 };
    let tag = &here[..end];
    let is_tag = tag[1..end - 1].chars().all(|c| c.is_alphanumeric() || c == '_')
        && !tag[1..].starts_with(|c: char| c.is_ascii_digit());
    match is_tag {
        true => here[end..].find(tag).map_or(here.len(), |at| end + at + end),
        false => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_placeholders_are_numbered() {
        let cases = [
            ("SELECT * FROM users WHERE id = ? AND name = ?", "SELECT * FROM users WHERE id = $1 AND name = $2"),
            ("SELECT '?', \"?\", ? -- ?\n, ?", "SELECT '?', \"?\", $1 -- ?\n, $2"),
            ("SELECT 'it''s ?', ?", "SELECT 'it''s ?', $1"),
            ("SELECT E'\\'?', ?, e'\\\\', ?", "SELECT E'\\'?', $1, e'\\\\', $2"),
            ("SELECT '\\', ?", "SELECT '\\', $1"),
            ("/* ? /* ? */ ? */ ?", "/* ? /* ? */ ? */ $1"),
            ("$$ ? $$ ? $a$ ? $$ ? $a$", "$$ ? $$ $1 $a$ ? $$ ? $a$"),
            ("SELECT data ?? 'a', data ??| ?", "SELECT data ? 'a', data ?| $1"),
            ("SELECT ?2, ?1, ?", "SELECT $2, $1, $2"),
            ("SELECT 5 - ?, 6 / ?", "SELECT 5 - $1, 6 / $2"),
            ("SELECT 'ä?', 'open ?", "SELECT 'ä?', 'open ?"),
            ("$1 ?", "$1 $1"),
            ("SELECT a$b$ ? FROM x", "SELECT a$b$ $1 FROM x"),
        ];
        for (sql, wanted) in cases {
            assert_eq!(numbered(sql), wanted);
        }
    }
}
