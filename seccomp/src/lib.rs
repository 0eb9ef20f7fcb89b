//! The kernel's filter on system calls: what a plugin's process may call (`filter`, pure), its installation (`kernel`),
//! and whom the kernel asks about starting programs (`listener`).

mod filter;
mod kernel;
mod listener;

pub use filter::{Exec, Filter, Machine};
pub use listener::{Listener, Next, Request};
