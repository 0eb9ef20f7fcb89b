//! What is done where a kernel cannot enforce what plugins may do. Pure.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sandbox {
    /// No plugin runs there.
    Required,
    /// Plugins run, and it is said what is not enforced.
    #[default]
    BestEffort,
}

impl Sandbox {
    pub const ALL: [Self; 2] = [Self::Required, Self::BestEffort];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "Required",
            Self::BestEffort => "BestEffort",
        }
    }

    /// From an operator: what is not known is taken as the stricter.
    #[must_use]
    pub fn told(name: &str) -> Self {
        if name == Self::BestEffort.name() { Self::BestEffort } else { Self::Required }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unknown_is_strict() {
        for sandbox in Sandbox::ALL {
            assert_eq!(Sandbox::told(sandbox.name()), sandbox);
        }
        assert_eq!(Sandbox::told(""), Sandbox::Required);
    }
}
