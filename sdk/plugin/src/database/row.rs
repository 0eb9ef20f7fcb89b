//! Rows with typed getters. Pure.

use super::{FromSql, SqlValue};
use crate::Value;
use rockstar_proto::types;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// All rows of a query, in the database's order.
pub type Rows = Vec<Row>;

/// One row of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<SqlValue>,
}

/// A column that is not there, or not of the type that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    #[error("the row has no column '{0}'")]
    Absent(String),
    #[error("column '{column}' is not {wanted}, it is {found}")]
    Type { column: String, wanted: &'static str, found: String },
    #[error("the row does not have the expected form: {0}")]
    Form(String),
}

impl Row {
    pub(super) fn new(columns: Arc<[String]>, values: Vec<types::Value>) -> Self {
        Self { columns, values: values.into_iter().map(SqlValue::from).collect() }
    }

    /// A NULL is an `Option`'s None: `row.get::<Option<String>>("name")`.
    pub fn get<T: FromSql>(&self, column: &str) -> Result<T, RowError> {
        let value = self.value(column).ok_or_else(|| RowError::Absent(column.to_owned()))?;
        let wrong = || RowError::Type { column: column.into(), wanted: T::NAME, found: format!("{value:?}") };
        T::from_sql(value).ok_or_else(wrong)
    }

    #[must_use]
    pub fn value(&self, column: &str) -> Option<&SqlValue> {
        self.values.get(self.columns.iter().position(|name| name == column)?)
    }

    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    #[must_use]
    pub fn values(&self) -> &[SqlValue] {
        &self.values
    }

    /// The whole row as the plugin's own type, fields named as the columns are.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, RowError> {
        let fields = self.columns.iter().cloned().zip(self.values.iter().map(SqlValue::to_json));
        T::deserialize(Value::Object(fields.collect())).map_err(|e| RowError::Form(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row() -> Row {
        let columns: Arc<[String]> = ["id".to_owned(), "name".to_owned()].into();
        Row::new(columns, vec![types::Value::from(&json!(7)), types::Value::from(&json!(null))])
    }

    #[test]
    fn getters_know_their_type() {
        assert_eq!(row().get("id"), Ok(7_i64));
        assert_eq!(row().get("name"), Ok(None::<String>));
        let error = row().get::<String>("id").unwrap_err().to_string();
        assert_eq!(error, "column 'id' is not text, it is Integer(7)");
        assert_eq!(row().get::<i64>("age").unwrap_err().to_string(), "the row has no column 'age'");
    }

    #[test]
    fn a_row_becomes_the_plugins_own_type() {
        let map: std::collections::BTreeMap<String, Option<i64>> = row().deserialize().unwrap();
        assert_eq!(map["id"], Some(7));
        assert_eq!(map["name"], None);
    }
}
