//! The token for admin calls: random, new at each start, readable in the private directory only. Stand-alone a copy lies
//! where the command line looks for it. Does I/O.

use rockstar_core::admin_token;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

const FILE: &str = "admin.token";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(String);

/// A copy for the command line, removed when dropped.
#[derive(Debug)]
pub struct Announcement(PathBuf);

impl Token {
    pub fn create(run: &Path) -> io::Result<Self> {
        let token = Self(hex::encode(rand::random::<[u8; 32]>()));
        token.write(&run.join(FILE))?;
        Ok(token)
    }

    /// Takes the same time whatever is given.
    #[must_use]
    pub fn is(&self, given: &str) -> bool {
        let different = self.0.bytes().zip(given.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
        self.0.len() == given.len() && different == 0
    }

    /// Puts a copy where the command line finds it.
    pub fn announce(&self, port: u16) -> io::Result<Announcement> {
        let user = rustix::process::geteuid().as_raw();
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
        let directory = admin_token::directory(runtime.as_deref(), user);
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(cause),
            _ => {}
        }
        let found = fs::symlink_metadata(&directory)?;
        if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
            return Err(io::Error::other(format!("{} is not this user's alone", directory.display())));
        }
        let path = admin_token::path(runtime.as_deref(), user, port);
        self.write(&path)?;
        Ok(Announcement(path))
    }

    /// In place of what is there, and readable to nobody else at any time.
    fn write(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(self.0.as_bytes())
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}
