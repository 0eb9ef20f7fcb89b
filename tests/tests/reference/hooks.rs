//! 2: hooks.
