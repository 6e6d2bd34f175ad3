//! Rows of results: declared once with [`row!`](crate::row!), and from that described and written.

mod macros;

use crate::descriptor::{Column, Table};
use crate::schema::Arena;

/// One kind of row; [`row!`](crate::row!) implements it.
pub trait Row: 'static {
    /// The table's name; `rows` where none was given.
    const TABLE: &'static str = "rows";
    /// What a row stands for.
    const DOC: &'static [&'static str] = &[];

    /// Writes every value in the order of the columns.
    fn encode(&self, arena: &mut Arena<'_>);

    /// What a descriptor says of the columns.
    fn columns() -> Vec<Column>;
}

/// What a method emits: rows of one table ([`row!`](crate::row!)) or of several
/// ([`tables!`](crate::tables!)).
pub trait Rows: 'static {
    /// Index of the table that this row is for.
    fn table(&self) -> u8;

    /// Writes every value in the order of the columns.
    fn encode(&self, arena: &mut Arena<'_>);

    /// What a descriptor says of the tables.
    fn tables() -> Vec<Table>;
}

/// A method without rows.
impl Rows for () {
    fn table(&self) -> u8 {
        0
    }

    fn encode(&self, _: &mut Arena<'_>) {}

    fn tables() -> Vec<Table> {
        Vec::new()
    }
}

/// The table of one kind of row.
#[must_use]
pub fn table_of<R: Row>(name: &str) -> Table {
    Table { name: name.to_owned(), doc: crate::descriptor::joined(R::DOC), columns: R::columns() }
}

/// The name of a column whose field is written so: `r#match` is `match`.
#[must_use]
pub fn name(field: &str) -> &str {
    field.strip_prefix("r#").unwrap_or(field)
}

#[cfg(test)]
mod tests;
