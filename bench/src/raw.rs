//! The limit to compare with: the same messages over the same two hops, and nothing done on the way.

pub(crate) mod leaf;
pub(crate) mod relay;
