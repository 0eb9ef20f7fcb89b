//! What fits into messages: bodies, and the ids of those that do not.

use crate::{
    plugin::{Next, reply::Reply},
    types::{Body, body},
};
use bytes::Bytes;

/// The largest message on a stream that many share: a larger one would stall the others. Its sender sees to it.
pub const MAX_FRAME: usize = 256 << 10;

/// The largest body, and the largest piece of one, that travels in a message.
pub const MAX_WHOLE: usize = 64 << 10;

/// Bytes of one body that its reader has not read: more than that its sender keeps.
pub const STREAM_WINDOW: u32 = 256 << 10;

/// The most that HTTP/2 knows: bodies that nobody reads must not hold up the others.
pub const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Calls that are broken off before they began, more than which HTTP/2 takes for an attack.
pub const BROKEN_OFF: usize = 4096;

/// Pieces that still come of bodies which nobody reads any more, more than which HTTP/2 takes for an attack: on a
/// connection that cannot be made again, there are never enough of them to end it.
pub const LATE_PIECES: usize = usize::MAX;

/// Requests whose bodies one plugin reads at once.
pub const MAX_UPLOADS: usize = 64;

/// Ids from here on are of bodies that the server of a Transfer call sends; below of those that its client sends.
pub const SENT_BY_SERVER: u64 = 1 << 63;

impl Body {
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { body: Some(body::Body::Whole(bytes.into())), size: 0 }
    }

    /// `size` in bytes, 0 where it is not known.
    #[must_use]
    pub const fn transferred(id: u64, size: u64) -> Self {
        Self { body: Some(body::Body::Transfer(id)), size }
    }

    /// None of a body that must be read from a Transfer call.
    #[must_use]
    pub const fn bytes(&self) -> Option<&Bytes> {
        match &self.body {
            Some(body::Body::Whole(bytes)) => Some(bytes),
            _ => None,
        }
    }

    #[must_use]
    pub const fn transfer(&self) -> Option<u64> {
        match self.body {
            Some(body::Body::Transfer(id)) => Some(id),
            _ => None,
        }
    }
}

impl Reply {
    /// The body that goes with it.
    pub const fn body_mut(&mut self) -> Option<&mut Body> {
        match self {
            Self::Change(change) | Self::Next(Next { change: Some(change), .. }) => change.body.as_mut(),
            Self::Answer(answer) => answer.body.as_mut(),
            Self::Next(_) | Self::Result(_) | Self::Failure(_) => None,
        }
    }
}

/// Pieces that fit into messages; of nothing, none.
pub fn pieces(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || (!bytes.is_empty()).then(|| bytes.split_to(bytes.len().min(MAX_WHOLE))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole_again() {
        let bytes = Bytes::from((0..150_000_u32).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>());
        let all: Vec<_> = pieces(bytes.clone()).collect();
        assert!(all.iter().all(|piece| (1..=MAX_WHOLE).contains(&piece.len())));
        assert_eq!(all.concat(), bytes);
        assert_eq!(pieces(Bytes::new()).count(), 0);
    }
}
