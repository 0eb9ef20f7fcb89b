//! The kernel's filter on system calls: what a plugin's process may call (`rules`, a table; `numbers`, its calls on each
//! machine; `filter`, the program made of both: all pure), its installation (`kernel`), and what the kernel asks about
//! calls that the table leaves to the sidecar (`listener`).

mod filter;
mod kernel;
mod listener;
mod numbers;
mod rules;

pub use filter::Filter;
pub use listener::{Listener, Next, Request};
pub use numbers::Machine;
