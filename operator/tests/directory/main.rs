//! The whole driver over a directory, with instances that speak the real control protocol over a Unix socket.

#[cfg(test)]
mod instance;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod story;
