//! 8: configuration and storage of a plugin.
