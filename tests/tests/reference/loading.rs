//! 3: loading and configuration files.
