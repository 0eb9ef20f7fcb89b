//! 10: events and services.
