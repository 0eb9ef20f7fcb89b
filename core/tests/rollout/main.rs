//! The rollout planner against a simulated fleet.

mod invariants;
mod pod;
mod properties;
mod scenarios;
mod world;
