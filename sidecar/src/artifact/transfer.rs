//! Bytes from the network into a file, no more than there is room for and no longer than agreed. Does I/O.

use super::ArtifactError;
use crate::bounds::limits;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::{
    Client,
    redirect::{Action, Attempt, Policy},
};
use rockstar_core::limits::Limit;
use std::{error::Error, fs::File, io, time::Duration};
use tokio::{io::AsyncWriteExt, time::timeout};

const CONNECT: Duration = Duration::from_secs(10);
/// Without a byte from the other side.
const SILENCE: Duration = Duration::from_secs(30);
/// For an answer without files.
pub(super) const ANSWER: Duration = Duration::from_secs(60);
/// For one file.
pub(super) const BODY: Duration = Duration::from_secs(600);
const AGENT: &str = concat!("rockstar/", env!("CARGO_PKG_VERSION"));
const MAX_REDIRECTS: usize = 5;

/// A client that unpacks nothing: bounds and digests are of what was sent.
pub(super) fn client() -> reqwest::Result<Client> {
    let client = Client::builder().user_agent(AGENT).connect_timeout(CONNECT).read_timeout(SILENCE);
    client.no_gzip().no_brotli().no_deflate().no_zstd().redirect(Policy::custom(follow)).build()
}

/// A redirect leads to https only, or stays with its server: others may be pages that only this machine can see.
fn follow(attempt: Attempt<'_>) -> Action {
    let stays = attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
    match () {
        () if attempt.previous().len() > MAX_REDIRECTS => attempt.error("too many redirects"),
        () if attempt.url().scheme() == "https" || stays => attempt.follow(),
        () => attempt.error("it redirects to another server without https"),
    }
}

/// The bytes of all files of an artifact, packed or not.
pub(super) fn largest() -> u64 {
    limits().get(Limit::Artifact)
}

/// Writes a body to a file; says how many bytes there were.
pub(super) async fn save(
    body: impl Stream<Item = Result<Bytes, ArtifactError>>,
    from: &str,
    file: &File,
    room: u64,
) -> Result<u64, ArtifactError> {
    let mut body = std::pin::pin!(body);
    let mut file = tokio::fs::File::from_std(file.try_clone().map_err(ArtifactError::Store)?);
    let mut written = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        written += chunk.len() as u64;
        fits(from, written, room)?;
        file.write_all(&chunk).await.map_err(ArtifactError::Store)?;
    }
    file.flush().await.map_err(ArtifactError::Store)?;
    Ok(written)
}

/// The same, with the field that sets it.
pub(super) fn largest_named() -> String {
    format!("{} (limits.artifact)", limits().format(Limit::Artifact))
}

pub(super) fn fits(what: &str, bytes: u64, room: u64) -> Result<(), ArtifactError> {
    match bytes <= room {
        true => Ok(()),
        false => Err(ArtifactError::TooLarge { what: what.to_owned(), limit: largest_named() }),
    }
}

pub(super) async fn within<T>(
    limit: Duration,
    from: &str,
    step: impl Future<Output = Result<T, ArtifactError>>,
) -> Result<T, ArtifactError> {
    timeout(limit, step).await.map_err(|_| ArtifactError::Slow { from: from.to_owned(), limit })?
}

/// What the network did, without the address: it may hold a password.
pub(super) fn unavailable(from: &str, error: reqwest::Error) -> ArtifactError {
    ArtifactError::Unavailable { from: from.to_owned(), cause: chain(&error.without_url()) }
}

/// An error with its causes: the last one tells most.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The 64 digits of a SHA-256, lower case.
pub(super) fn sha256(digits: &str) -> Option<String> {
    let whole = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    whole.then(|| digits.to_ascii_lowercase())
}

/// The first bytes of a file; leaves its position at the start.
pub(super) fn magic(mut file: &File) -> io::Result<[u8; 4]> {
    use std::io::{Read, Seek};
    let mut bytes = [0; 4];
    file.rewind()?;
    let mut start = file.take(4);
    let mut filled = 0;
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match start.read(room)? {
            0 => break,
            n => filled += n,
        }
    }
    file.rewind()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_has_no_room_is_refused_before_it_is_written() {
        let chunks = || futures::stream::iter(["abc", "def"].map(|c| Ok(Bytes::from(c))));
        let file = tempfile::tempfile().unwrap();
        assert_eq!(save(chunks(), "x", &file, 6).await.unwrap(), 6);
        assert_eq!(magic(&file).unwrap(), *b"abcd");
        let file = tempfile::tempfile().unwrap();
        let error = save(chunks(), "x", &file, 5).await.unwrap_err();
        assert_eq!(error.to_string(), "x is too large: at most 512Mi (limits.artifact) are allowed");
        assert!(file.metadata().unwrap().len() <= 5);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends() {
        let error = within(BODY, "x", std::future::pending::<Result<(), _>>()).await.unwrap_err();
        assert_eq!(error.to_string(), "failed to download x: not done within 600 s");
    }

    #[test]
    fn digests_are_64_digits() {
        assert_eq!(sha256(&"A".repeat(64)), Some("a".repeat(64)));
        for bad in ["", "a", &"g".repeat(64), &"../".repeat(21)] {
            assert_eq!(sha256(bad), None);
        }
    }
}
