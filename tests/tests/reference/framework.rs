//! 4: what the framework offers to plugins.
