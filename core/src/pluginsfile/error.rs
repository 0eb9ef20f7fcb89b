//! What can be wrong with a plugins file; the text says where. Pure.

use crate::{
    document::{DocumentError, Place},
    limits::LimitError,
    permission::PermissionError,
};

/// One fault of a file. The text has line and field, the caller adds the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{fault}", .place.map(|place| format!("{place}: ")).unwrap_or_default())]
pub struct FileError {
    pub fault: Box<FileFault>,
    pub place: Option<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    #[error("{0}")]
    Syntax(String),
    #[error("field '{field}' must be {wanted}, found {found}")]
    WrongType { field: String, wanted: &'static str, found: String },
    #[error("missing required field: {0}")]
    MissingField(String),
    #[error("field 'plugins' must be an object, found an array: move the list one level down, to 'plugins.plugins'")]
    DirectList,
    #[error("field '{field}': {error}")]
    Permission { field: String, error: PermissionError },
    #[error("plugin listed twice: '{0}'")]
    ListedTwice(String),
    #[error(transparent)]
    Limit(#[from] LimitError),
}

impl From<DocumentError> for FileError {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Syntax { place, message } => Self { place, fault: Box::new(FileFault::Syntax(message)) },
            DocumentError::WrongType { place, field, wanted, found } => {
                Self { place, fault: Box::new(FileFault::WrongType { field, wanted, found }) }
            }
        }
    }
}
