//! The rollout planner against a simulated fleet.

mod invariants;
mod knowledge;
mod pod;
mod properties;
mod scenarios;
mod world;
