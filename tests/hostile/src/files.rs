//! What a plugin may do to its own files, by each way there is, and what it finds of others.

use std::{
    fs::{self, File, FileTimes, Permissions},
    io,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
        net::UnixDatagram,
    },
    time::{Duration, SystemTime},
};

/// Mode, owner and times of a file in a directory of its own: what is asked for is what comes of it.
pub(crate) fn own_attributes(directory: &str) -> io::Result<()> {
    let path = format!("{directory}/attributes");
    fs::write(&path, "x")?;
    let file = File::open(&path)?;
    let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::set_permissions(&path, Permissions::from_mode(0o640))?;
    expect("mode", 0o640, mode(&path)?)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    expect("mode by descriptor", 0o600, mode(&path)?)?;
    // No program of its making runs with another's rights.
    fs::set_permissions(&path, Permissions::from_mode(0o6755))?;
    expect("mode without setuid", 0o755, mode(&path)?)?;
    file.set_times(FileTimes::new().set_modified(moment).set_accessed(moment))?;
    expect("time", 1_000_000_000, fs::metadata(&path)?.mtime() as u32)?;
    let own = fs::metadata(&path)?;
    chown(&path, Some(own.uid()), Some(own.gid()))?;
    let link = format!("{directory}/link");
    symlink("attributes", &link)?;
    lchown(&link, Some(own.uid()), None)?;
    fs::set_permissions(&link, Permissions::from_mode(0o644))?;
    expect("mode through a link", 0o644, mode(&path)?)?;
    // A directory stays one that the sidecar can enter.
    let inner = format!("{directory}/inner");
    fs::create_dir(&inner)?;
    fs::set_permissions(&inner, Permissions::from_mode(0o055))?;
    expect("mode of a directory", 0o755, mode(&inner)?)?;
    fs::remove_dir(&inner)?;
    fs::remove_file(&link)?;
    fs::remove_file(&path)
}

fn mode(path: &str) -> io::Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
}

fn expect(what: &str, expected: u32, seen: u32) -> io::Result<()> {
    if expected == seen { Ok(()) } else { Err(io::Error::other(format!("{what} is {seen:o}, not {expected:o}"))) }
}

/// Changes what a link of its own leads to.
pub(crate) fn chmod_through_link(target: &str) -> io::Result<()> {
    let link = "data/link-out";
    fs::remove_file(link).ok();
    symlink(target, link)?;
    fs::set_permissions(link, Permissions::from_mode(0o000))
}

/// The names of everybody's sockets, by each path there is to them.
pub(crate) fn socket_names() -> io::Result<()> {
    let thread = fs::read_link("/proc/thread-self").unwrap_or_default();
    let threads = format!("/proc/{}/net/unix", thread.display());
    for path in ["/proc/net/unix", "/proc/self/net/unix", "/proc/thread-self/net/unix", &threads] {
        match fs::read(path) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EACCES))
}

pub(crate) fn datagram(path: &str) -> io::Result<()> {
    UnixDatagram::unbound()?.send_to(b"x", path).map(|_| ())
}
