//! Why a statement was not executed, or not to its end. Pure.

use crate::bounds::MAX_VALUE_MESSAGE;
use rockstar_proto::types::failure::Class;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    #[error("no database connection became free in time: end transactions and read results to their end")]
    Busy,
    #[error("the statement was interrupted at its deadline")]
    Deadline,
    #[error(
        "the database's only writer was busy until the deadline: another plugin, or another connection of this one, writes"
    )]
    Written,
    #[error("a row has {0} bytes, more than the {MAX_VALUE_MESSAGE} that fit into a message")]
    LargeRow(usize),
    #[error("the plugin does not listen any more")]
    Unheard,
    #[error("the statement has {wanted} placeholders, but {given} arguments are given")]
    Arguments { wanted: usize, given: usize },
    #[error("transactions are begun and ended by Begin, Commit and Rollback, not by statements")]
    Control,
    #[error("a transaction is open already")]
    Begun,
    #[error("there is no open transaction")]
    NotBegun,
    #[error("the transaction was rolled back: {0}")]
    RolledBack(String),
    #[error(
        "database or disk is full: the embedded database may have {0} (limits.database), its volume may have less; DELETE \
         and DROP make room (backends.database names a larger one)"
    )]
    Full(String),
    /// The engine's own words.
    #[error("{0}")]
    Refused(String),
}

impl DatabaseError {
    pub(crate) const fn class(&self) -> Class {
        match self {
            Self::Unreachable(_) | Self::Busy | Self::Written => Class::Unreachable,
            Self::Deadline => Class::Timeout,
            Self::Unheard => Class::Cancelled,
            Self::Control => Class::Denied,
            Self::Arguments { .. } | Self::Begun | Self::NotBegun | Self::LargeRow(_) => Class::Protocol,
            Self::RolledBack(_) | Self::Refused(_) | Self::Full(_) => Class::Returned,
        }
    }
}
