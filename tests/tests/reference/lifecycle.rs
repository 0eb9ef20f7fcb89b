//! 1: lifecycle and the plugin interface.
