//! A: the alerting rules.
