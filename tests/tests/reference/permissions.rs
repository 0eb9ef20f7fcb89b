//! 11: permissions.
