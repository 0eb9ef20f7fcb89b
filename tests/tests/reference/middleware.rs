//! 6: middleware.
