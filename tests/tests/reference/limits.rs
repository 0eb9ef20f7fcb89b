//! L: limits and hints.
