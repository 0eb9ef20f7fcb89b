//! 5: dependencies.
