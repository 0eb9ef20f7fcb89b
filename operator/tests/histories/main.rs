//! Random histories of a fleet. The operator's half is the product's own pipeline over a simulated API server, the
//! sidecar's half its own control code over simulated processes; laws are checked on what the pods truly do.

#[cfg(test)]
mod api;
#[cfg(test)]
mod generator;
#[cfg(test)]
mod history;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod pod;
#[cfg(test)]
mod random;
#[cfg(test)]
mod sidecar;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod step;
