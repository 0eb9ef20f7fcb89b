//! The token for admin calls in a pod: random, new at each start, readable in the private directory only. Does I/O.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const FILE: &str = "admin.token";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    pub fn create(run: &Path) -> io::Result<Self> {
        let token = hex::encode(rand::random::<[u8; 32]>());
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path(run))?;
        file.write_all(token.as_bytes())?;
        Ok(Self(token))
    }

    /// Takes the same time whatever is given.
    #[must_use]
    pub fn is(&self, given: &str) -> bool {
        let different = self.0.bytes().zip(given.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
        self.0.len() == given.len() && different == 0
    }
}

fn path(run: &Path) -> PathBuf {
    run.join(FILE)
}
