//! Who may call a plugin: the host that started it. Its socket has a name until the host has connected, and other plugins
//! run as the same user. Reads /proc; no call waits.

use std::{fs, io};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::{Stream, StreamExt, wrappers::UnixListenerStream};

/// The process that began this one's session, which is the host; None where the kernel does not tell.
pub(crate) fn host() -> Option<i32> {
    let own = stat("self")?;
    // A script may have begun this process: the host is the parent of the first one.
    let first = if own.session == std::process::id().cast_signed() { own } else { stat(&own.session.to_string())? };
    Some(first.parent).filter(|parent| *parent > 0)
}

/// Connections of the host; all of them where it is not known.
pub(crate) fn of_host(listener: UnixListener, host: Option<i32>) -> impl Stream<Item = io::Result<UnixStream>> {
    UnixListenerStream::new(listener).filter(move |accepted| match (accepted, host) {
        (Ok(stream), Some(host)) => stream.peer_cred().is_ok_and(|peer| peer.pid() == Some(host)),
        _ => true,
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: i32,
    session: i32,
}

fn stat(process: &str) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// `pid (name) state parent group session …`; the name may hold anything, parentheses included.
fn parse(line: &str) -> Option<Stat> {
    let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { parent, session: fields.nth(1)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{path::Path, time::Duration};
    use tokio::io::AsyncReadExt;

    #[test]
    fn parent_and_session_are_read_whatever_the_name() {
        assert_eq!(parse("7 (a) b (c) S 1 5 3 0 -1 4194560"), Some(Stat { parent: 1, session: 3 }));
        assert_eq!(parse("7"), None);
    }

    async fn admits(socket: &Path, host: Option<i32>) -> bool {
        std::fs::remove_file(socket).ok();
        let mut connections = Box::pin(of_host(UnixListener::bind(socket).unwrap(), host));
        let mut stream = UnixStream::connect(socket).await.unwrap();
        tokio::select! {
            accepted = connections.next() => accepted.is_some(),
            // Refused, it is closed before the first byte.
            read = stream.read_u8() => read.is_ok(),
            () = tokio::time::sleep(Duration::from_secs(60)) => panic!("neither"),
        }
    }

    #[tokio::test]
    async fn others_than_the_host_are_closed_before_the_first_byte() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let own = std::process::id().cast_signed();
        assert!(admits(&socket, Some(own)).await);
        assert!(admits(&socket, None).await);
        assert!(!admits(&socket, Some(1)).await);
    }
}
