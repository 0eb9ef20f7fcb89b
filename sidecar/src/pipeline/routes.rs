//! Paths that plugins answer themselves: patterns with `:name` for one segment and a last `*name` for the rest, matched
//! on the normal path; a fixed segment wins over a name, a name over the rest. Pure.

use rockstar_proto::{path::normalize, types::PathParameter};
use std::collections::HashMap;

/// The methods that a route may have.
pub(crate) const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// Why a route is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    #[error("invalid route: method '{0}' is none of {methods}", methods = METHODS.join(", "))]
    Method(String),
    #[error("invalid route: '{0}' is not a path like /a/:name/*rest")]
    Pattern(String),
    #[error("route already registered: '{0} {1}'")]
    Exists(String, String),
}

/// Routes by method and pattern, with what is found there.
#[derive(Clone, Debug)]
pub(crate) struct Routes<T> {
    by_method: HashMap<String, matchit::Router<usize>>,
    found: Vec<T>,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { by_method: HashMap::new(), found: Vec::new() }
    }
}

impl<T> Routes<T> {
    pub(crate) fn insert(&mut self, method: &str, pattern: &str, found: T) -> Result<(), RouteError> {
        if !METHODS.contains(&method) {
            return Err(RouteError::Method(method.to_owned()));
        }
        let template = template(pattern).ok_or_else(|| RouteError::Pattern(pattern.to_owned()))?;
        let router = self.by_method.entry(method.to_owned()).or_default();
        router.insert(template, self.found.len()).map_err(|error| match error {
            matchit::InsertError::Conflict { .. } => RouteError::Exists(method.to_owned(), pattern.to_owned()),
            _ => RouteError::Pattern(pattern.to_owned()),
        })?;
        self.found.push(found);
        Ok(())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.found.iter()
    }

    /// What is found for a normal path; a HEAD that nobody serves is served as GET.
    pub(crate) fn find(&self, method: &str, path: &str) -> Option<(&T, Vec<PathParameter>)> {
        self.at(method, path).or_else(|| (method == "HEAD").then(|| self.at("GET", path)).flatten())
    }

    fn at(&self, method: &str, path: &str) -> Option<(&T, Vec<PathParameter>)> {
        let found = self.by_method.get(method)?.at(path).ok()?;
        let parameters =
            found.params.iter().map(|(name, value)| PathParameter { name: name.to_owned(), value: value.to_owned() });
        Some((self.found.get(*found.value)?, parameters.collect()))
    }
}

/// The pattern that covers at least what the route's does, for those who only know `/x/*`.
pub(crate) fn glob(pattern: &str) -> String {
    match pattern.split('/').position(|segment| segment.starts_with([':', '*'])) {
        Some(place) => pattern.split('/').take(place).chain(["*"]).collect::<Vec<_>>().join("/"),
        None => pattern.to_owned(),
    }
}

/// In the matcher's own words.
fn template(pattern: &str) -> Option<String> {
    if !pattern.starts_with('/') || normalize(pattern) != pattern {
        return None;
    }
    let segments: Vec<&str> = pattern.split('/').collect();
    let last = segments.len() - 1;
    let words = segments.iter().enumerate().map(|(place, segment)| match segment.split_at_checked(1) {
        Some((":", name)) => is_name(name).then(|| format!("{{{name}}}")),
        Some(("*", "")) => (place == last).then(|| "{*rest}".to_owned()),
        Some(("*", name)) => (place == last && is_name(name)).then(|| format!("{{*{name}}}")),
        _ => Some(segment.replace('{', "{{").replace('}', "}}")),
    });
    words.collect::<Option<Vec<_>>>().map(|words| words.join("/"))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(patterns: &[&'static str]) -> Routes<&'static str> {
        let mut routes = Routes::default();
        for pattern in patterns {
            routes.insert("GET", pattern, *pattern).unwrap();
        }
        routes
    }

    fn found(routes: &Routes<&'static str>, path: &str) -> Option<(&'static str, Vec<String>)> {
        let (pattern, parameters) = routes.find("GET", path)?;
        Some((pattern, parameters.into_iter().map(|p| format!("{}={}", p.name, p.value)).collect()))
    }

    #[test]
    fn the_more_exact_pattern_wins() {
        let routes = routes(&["/a/:id", "/a/me", "/a/:id/posts", "/files/*path", "/{x}"]);
        assert_eq!(found(&routes, "/a/me"), Some(("/a/me", vec![])));
        assert_eq!(found(&routes, "/a/7"), Some(("/a/:id", vec!["id=7".into()])));
        assert_eq!(found(&routes, "/a/7/posts"), Some(("/a/:id/posts", vec!["id=7".into()])));
        assert_eq!(found(&routes, "/files/b/c"), Some(("/files/*path", vec!["path=b/c".into()])));
        assert_eq!(found(&routes, "/{x}"), Some(("/{x}", vec![])));
        assert_eq!((found(&routes, "/a"), found(&routes, "/b"), found(&routes, "/a/7/")), (None, None, None));
    }

    #[test]
    fn names_of_parameters_make_no_other_route() {
        let mut routes = routes(&["/a/:id", "/f/*path"]);
        for pattern in ["/a/:id", "/a/:name", "/f/*rest"] {
            let error = routes.insert("GET", pattern, "again").unwrap_err();
            assert_eq!(error.to_string(), format!("route already registered: 'GET {pattern}'"));
        }
        routes.insert("POST", "/a/:id", "other").unwrap();
        routes.insert("GET", "/a/:name/more", "other").unwrap();
    }

    #[test]
    fn what_is_no_route_is_refused() {
        let mut routes = Routes::default();
        for pattern in ["", "a", "/a//b", "/a/../b", "/%61", "/a/:", "/*all/b", "/a/:i d"] {
            assert_eq!(routes.insert("GET", pattern, ()), Err(RouteError::Pattern(pattern.into())), "{pattern}");
        }
        assert!(routes.insert("get", "/", ()).is_err() && routes.insert("CONNECT", "/", ()).is_err());
    }

    #[test]
    fn head_is_served_as_get_unless_it_has_its_own() {
        let mut routes = routes(&["/a", "/b"]);
        routes.insert("HEAD", "/b", "own").unwrap();
        assert_eq!((routes.find("HEAD", "/a").unwrap().0, routes.find("HEAD", "/b").unwrap().0), (&"/a", &"own"));
        assert!(routes.find("PUT", "/a").is_none());
    }

    #[test]
    fn a_glob_covers_its_route() {
        for (pattern, covering) in
            [("/a/b", "/a/b"), ("/a/:id/c", "/a/*"), ("/f/*p", "/f/*"), ("/:x", "/*"), ("/", "/")]
        {
            assert_eq!(glob(pattern), covering);
        }
    }
}
