//! S: the SQL tables.
