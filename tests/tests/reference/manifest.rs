//! 12: the manifest.
