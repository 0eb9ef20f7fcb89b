//! The path that patterns are matched on: decoded once, without dot segments and double slashes, so that no spelling
//! gets around a pattern. Pure.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// `/x/../%61dmin//y` is `/admin/y`. A slash at the end stays.
#[must_use]
pub fn normalize(path: &str) -> Cow<'_, str> {
    if is_normal(path) {
        return Cow::Borrowed(path);
    }
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let mut kept: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let folder = matches!(decoded.rsplit('/').next(), Some("" | "." | ".."));
    let end = if folder && !kept.is_empty() { "/" } else { "" };
    Cow::Owned(format!("/{}{end}", kept.join("/")))
}

fn is_normal(path: &str) -> bool {
    path.starts_with('/') && !path.contains('%') && !path.contains("//") && !path.contains("/.")
}

/// Whether a pattern covers a normal path: `/x/*` covers `/x` and all below it, any other pattern only itself.
#[must_use]
pub fn covers(pattern: &str, path: &str) -> bool {
    let Some(folder) = pattern.strip_suffix("/*") else { return pattern == path };
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_hides_a_path() {
        for spelled in
            ["/admin/x", "//admin/x", "/x/../admin/x", "/%61dmin/x", "/admin//./x", "/..%2fadmin/x", "admin/x"]
        {
            assert_eq!(normalize(spelled), "/admin/x", "{spelled}");
        }
        for (spelled, normal) in [("/", "/"), ("/a/", "/a/"), ("/a/.", "/a/"), ("/a/..", "/"), ("", "/"), ("*", "/*")] {
            assert_eq!(normalize(spelled), normal, "{spelled}");
        }
        assert_eq!(normalize("/%2561"), "/%61");
        assert_eq!(normalize("/.well-known/x"), "/.well-known/x");
    }

    #[test]
    fn a_star_covers_the_folder_and_all_below() {
        assert!(
            covers("/*", "/") && covers("/*", "/a/b") && covers("/admin/*", "/admin") && covers("/admin/*", "/admin/x")
        );
        assert!(!covers("/admin/*", "/adminx") && !covers("/admin", "/admin/x") && covers("/admin", "/admin"));
    }
}
