//! 7: hot reload.
