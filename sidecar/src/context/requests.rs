//! Registering what takes part in requests: middleware, which needs no permission, and routes, which do.

use super::{Context, register::check_room};
use crate::instance::{Middleware, Route};
use rockstar_core::permission::Permission;
use rockstar_proto::{
    path::normalize,
    plugin::{BodyNeed, Registration},
    types::Failure,
};

const DEFAULT_PRIORITY: i32 = 100;

impl Context {
    pub(super) fn register_middleware(&self, wanted: &Registration) -> Result<bool, String> {
        if wanted.name.is_empty() {
            return Err("middleware has no name".into());
        }
        if let Some(pattern) = wanted.routes.iter().find(|pattern| !is_pattern(pattern)) {
            return Err(format!("invalid route pattern: '{pattern}' is neither a path nor a path with /* at its end"));
        }
        let middleware = Middleware {
            name: wanted.name.clone(),
            priority: wanted.priority.unwrap_or(DEFAULT_PRIORITY),
            handler: wanted.handler.clone(),
            order: self.instance.next_order(),
            routes: wanted.routes.clone(),
            request_only: wanted.request_only,
            body: wanted.body() != BodyNeed::None,
        };
        self.instance.edit(|registrations| {
            if registrations.middleware.iter().any(|m| m.name == middleware.name) {
                return Err(format!("middleware already registered: '{}'", middleware.name));
            }
            registrations.middleware.push(middleware);
            check_room(registrations)
        })
    }

    pub(super) fn unregister_middleware(&self, name: &str) -> Result<bool, String> {
        self.instance.edit(|registrations| {
            let before = registrations.middleware.len();
            registrations.middleware.retain(|m| m.name != name);
            match registrations.middleware.len() < before {
                true => Ok(()),
                false => Err(format!("middleware not found: '{name}'")),
            }
        })
    }

    pub(super) fn register_route(&self, wanted: &Registration) -> Result<Result<bool, String>, Failure> {
        self.allowed(Permission::Router)?;
        let route = Route {
            method: wanted.method.clone(),
            pattern: wanted.routes.first().cloned().unwrap_or_default(),
            handler: wanted.handler.clone(),
            order: self.instance.next_order(),
            body: wanted.body(),
        };
        Ok(self.framework.routes.claim(&self.instance, route))
    }
}

/// What cannot match a normal path would be middleware that never runs.
fn is_pattern(pattern: &str) -> bool {
    let path = match pattern.strip_suffix("/*") {
        Some("") => "/",
        Some(folder) if folder.ends_with('/') => return false,
        Some(folder) => folder,
        None => pattern,
    };
    let is_plain = |segment: &str| !segment.starts_with(':') && !segment.contains('*');
    path.starts_with('/') && normalize(path) == path && path.split('/').all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_patterns_that_can_match_are_taken() {
        for pattern in ["/", "/*", "/admin/*", "/a/b", "/a/"] {
            assert!(is_pattern(pattern), "{pattern}");
        }
        for pattern in ["", "*", "admin/*", "/a*", "/a/*/b", "//a", "/a/../b", "/%61", "/a/:id", "/a//*"] {
            assert!(!is_pattern(pattern), "{pattern}");
        }
    }
}
