//! 9: metrics, health, error thresholds.
