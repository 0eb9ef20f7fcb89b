//! What the schema of the resources cannot tell: whether a spec makes sense. Pure; what is around it is passed in.

mod hosts;
mod plugins;
mod surroundings;

pub use hosts::{host, host_deletion};
pub use plugins::{plugin, plugin_deletion};
pub use surroundings::{Missing, Neighbour, Surroundings};

/// What a request for admission is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opinion {
    /// Why it is refused; none = it is not.
    pub denials: Vec<String>,
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests;
