//! Rows written as JSON straight from their octets.
//!
//! A campaign makes millions of rows; a tree of each would take most of its time. What is written
//! is the same text that [`Table::row_json`] gives.

use super::{Column, RowError, Shape, Table};
use crate::{
    json::{put, put_address, put_text, put_time},
    schema::{Reader, Scalar, Value},
    text,
};

/// Writes rows of one table.
#[derive(Clone, Debug)]
pub struct RowWriter {
    table: Table,
    /// What stands before each value: the comma and the name.
    keys: Vec<Box<[u8]>>,
}

impl RowWriter {
    /// For rows of `table`.
    #[must_use]
    pub fn new(table: &Table) -> Self {
        let key = |(index, column): (usize, &Column)| {
            let mut key = vec![if index == 0 { b'{' } else { b',' }];
            put_text(&column.name, &mut key);
            key.push(b':');
            key.into_boxed_slice()
        };
        Self { table: table.clone(), keys: table.columns.iter().enumerate().map(key).collect() }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Appends one row as an object; `wall_offset_ns` is wall time minus monotonic time.
    ///
    /// # Errors
    ///
    /// [`RowError`] as [`Table::decode_row`]; `out` holds a part of the row then.
    pub fn write(
        &self,
        octets: &[u8],
        wall_offset_ns: i64,
        out: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        let offset = i128::from(wall_offset_ns);
        let mut keys = self.keys.iter();
        self.table.scan(octets, |cell| {
            out.extend_from_slice(keys.next().map_or(b"".as_slice(), |key| key));
            match cell {
                Cell::Scalar(scalar) => write_scalar(scalar, offset, out),
                Cell::Nested(value) => put(&value.to_json_at(offset), out),
            }
        })?;
        out.extend_from_slice(if self.keys.is_empty() { b"{}" } else { b"}" });
        Ok(())
    }
}

/// One value of a row.
enum Cell<'a> {
    Scalar(&'a Scalar<'a>),
    /// A list or a map.
    Nested(&'a Value),
}

impl Table {
    /// Whether octets are one row of this table, as [`Table::decode_row`] without the values.
    ///
    /// # Errors
    ///
    /// [`RowError`] as [`Table::decode_row`].
    pub fn check_row(&self, octets: &[u8]) -> Result<(), RowError> {
        self.scan(octets, |_| ())
    }

    /// Reads and checks every value of a row.
    fn scan(&self, octets: &[u8], mut each: impl FnMut(Cell<'_>)) -> Result<(), RowError> {
        let encoding = |error| RowError::Encoding { table: self.name.clone(), error };
        let mut reader = Reader::new(octets).map_err(encoding)?;
        for column in &self.columns {
            // Borrowed, not moved: what was just written piece by piece is slow to read as a whole.
            let (scalar, nested);
            scalar = reader.scalar();
            let (cell, fits) = match &scalar {
                Ok(Some(scalar)) => (Cell::Scalar(scalar), column.fits_scalar(scalar)),
                Ok(None) => {
                    nested = reader.value().map_err(encoding)?;
                    (Cell::Nested(&nested), column.fits(&nested))
                }
                Err(error) => return Err(encoding(*error)),
            };
            if !fits {
                return Err(RowError::Column {
                    table: self.name.clone(),
                    column: column.name.clone(),
                    expected: column.shape.kind,
                });
            }
            each(cell);
        }
        reader.finish().map_err(encoding)
    }
}

impl Column {
    /// As [`Column::fits`].
    fn fits_scalar(&self, scalar: &Scalar<'_>) -> bool {
        let Shape { kind, choices, .. } = &self.shape;
        match scalar {
            Scalar::None => self.nullable,
            Scalar::Text(text) if *kind == scalar.kind() => {
                choices.is_empty() || choices.iter().any(|choice| choice == text)
            }
            scalar if choices.is_empty() => *kind == scalar.kind(),
            scalar => self.shape.fits(&scalar.to_value()),
        }
    }
}

fn write_scalar(scalar: &Scalar<'_>, offset: i128, out: &mut Vec<u8>) {
    match *scalar {
        Scalar::None => out.extend_from_slice(b"null"),
        Scalar::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Scalar::U64(value) => put(&value, out),
        Scalar::I64(value) => put(&value, out),
        // What is not a finite number is null.
        Scalar::F64(value) => put(&value, out),
        Scalar::Text(value) => put_text(value, out),
        Scalar::Ip(value) => put_address(value, out),
        Scalar::Time(value) => put_time(i128::from(value) + offset, out),
        Scalar::Duration(value) => put_text(&text::duration(value), out),
        Scalar::Bytes(value) => put_text(&text::hex(value), out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        descriptor::Type,
        schema::{Value, to_vec},
    };

    /// A column and a value for it.
    fn cells() -> Vec<(Shape, Value)> {
        let text = |text: &str| Value::Text(text.to_owned());
        vec![
            (Shape::of(Type::Boolean), Value::Bool(true)),
            (Shape::of(Type::Natural), Value::U64(u64::MAX)),
            (Shape::of(Type::Integer), Value::I64(-5)),
            (Shape::of(Type::Real), Value::F64(0.1)),
            (Shape::of(Type::Real), Value::F64(f64::NAN)),
            (Shape::of(Type::String), text("a \"quoted\" line\n\u{7f}\u{9b}\u{e9}")),
            (Shape::choice(&["kernel", "user"]), text("user")),
            (Shape::of(Type::Address), Value::Ip("192.0.2.10".parse().unwrap())),
            (Shape::of(Type::Address), Value::Ip("2001:db8::1".parse().unwrap())),
            (Shape::of(Type::Time), Value::Time(1_001)),
            (Shape::of(Type::Duration), Value::Duration(1_500_000)),
            (Shape::of(Type::Hex), Value::Bytes(vec![0, 0xab])),
            (Shape::of(Type::Natural), Value::None),
            (Shape::of(Type::Address).list(), Value::List(vec![Value::Ip([192, 0, 2, 1].into())])),
        ]
    }

    fn table(cells: &[(Shape, Value)]) -> Table {
        let column = |(number, (shape, _)): (usize, &(Shape, Value))| Column {
            name: format!("column{number}"),
            element: String::new(),
            shape: shape.clone(),
            unit: String::new(),
            nullable: true,
            doc: String::new(),
        };
        let columns = cells.iter().enumerate().map(column).collect();
        Table { name: "all".to_owned(), doc: String::new(), columns }
    }

    fn octets(cells: &[(Shape, Value)]) -> Vec<u8> {
        to_vec(|arena| cells.iter().for_each(|(_, value)| value.encode(arena)))
    }

    #[test]
    fn a_row_reads_as_its_tree_does() {
        for count in 0..=cells().len() {
            let cells = &cells()[..count];
            let (table, octets, mut out) = (table(cells), octets(cells), Vec::new());
            RowWriter::new(&table).write(&octets, 1_700_000_000_000_000_000, &mut out).unwrap();
            let values = table.decode_row(&octets).unwrap();
            let mut tree = Vec::new();
            put(&table.row_json(&values, 1_700_000_000_000_000_000_i64), &mut tree);
            assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(tree).unwrap());
        }
    }

    #[test]
    fn what_is_no_row_is_refused_as_by_the_decoder() {
        let cells = cells();
        let (table, good) = (table(&cells), octets(&cells));
        for at in 0..good.len() {
            for change in [1, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= change;
                let (one, other) = (table.check_row(&bad), table.decode_row(&bad).map(|_| ()));
                assert_eq!(one, other, "octet {at}");
            }
            assert!(table.check_row(&good[..at]).is_err());
        }
        assert_eq!(table.check_row(&good), Ok(()));
    }
}
