//! The macros that declare rows and tables.

/// Declares one kind of row.
///
/// A field is `name: Type => "element" { key: value, … }`; the element, where mPlane has a word for
/// it, and the keys, methods of [`Column`](crate::descriptor::Column), may be left out. So may the
/// table's name behind the struct's, which [`tables!`](crate::tables!) can give too. The struct can
/// be a field of other rows: a map, or with `Vec` a list of maps.
///
/// ```
/// use std::net::IpAddr;
/// use sonde_plugin_api::row;
/// use sonde_plugin_api::row::{Row, Rows};
///
/// row! {
///     /// An entry of an MPLS label stack.
///     pub struct Label { label: u32, ttl: u8 }
/// }
/// row! {
///     /// An answer, or its absence.
///     pub struct HopRow = "hops" {
///         ttl: u8,
///         addr: Option<IpAddr> => "scamper.trace.hop.{ip}",
///         /// Null if there was no answer.
///         rtt_us: Option<u64> => "rtt.us",
///         mpls: Vec<Label>,
///     }
/// }
///
/// let table = &HopRow::tables()[0];
/// assert_eq!((table.name.as_str(), table.columns.len()), ("hops", 4));
/// let row = HopRow { ttl: 1, addr: None, rtt_us: Some(412), mpls: vec![Label { label: 16, ttl: 1 }] };
/// let values = table.decode_row(&sonde_plugin_api::schema::to_vec(|arena| Row::encode(&row, arena))).unwrap();
/// let json = serde_json::Value::Object(table.row_json(&values, 0));
/// assert_eq!(json.to_string(), r#"{"ttl":1,"addr":null,"rtt_us":412,"mpls":[{"label":16,"ttl":1}]}"#);
/// ```
#[macro_export]
macro_rules! row {
    ($(#[doc = $row_doc:expr])* $(#[derive($($derive:path),*)])? $vis:vis struct $Row:ident
        $(= $table:literal)? {
        $($(#[doc = $doc:expr])* $field:ident : $type:ty $(=> $element:literal)?
            $({ $($key:ident : $value:expr),* $(,)? })?),* $(,)?
    }) => {
        $(#[doc = $row_doc])*
        #[derive(Clone, Debug, PartialEq, $($($derive),*)?)]
        #[allow(unreachable_pub)] // its fields, where the struct itself is not public
        $vis struct $Row {
            $($(#[doc = $doc])* #[doc = ""] #[doc = concat!("Column `", stringify!($field), "`")]
                pub $field: $type,)*
        }

        impl $crate::row::Row for $Row {
            $(const TABLE: &'static str = $table;)?
            const DOC: &'static [&'static str] = &[$($row_doc),*];

            #[inline]
            fn encode(&self, _arena: &mut $crate::schema::Arena<'_>) {
                $($crate::schema::Field::encode(&self.$field, _arena);)*
            }

            fn columns() -> ::std::vec::Vec<$crate::descriptor::Column> {
                ::std::vec![$(
                    $crate::descriptor::Column::of::<$type>(
                        $crate::row::name(stringify!($field)), concat!($($element)?), &[$($doc),*])
                        $($(.$key($value))*)?,
                )*]
            }
        }

        impl $crate::row::Rows for $Row {
            fn table(&self) -> u8 {
                0
            }

            #[inline]
            fn encode(&self, arena: &mut $crate::schema::Arena<'_>) {
                $crate::row::Row::encode(self, arena);
            }

            fn tables() -> ::std::vec::Vec<$crate::descriptor::Table> {
                ::std::vec![$crate::row::table_of::<Self>(<Self as $crate::row::Row>::TABLE)]
            }
        }

        impl $crate::schema::Field for $Row {
            type Scalar = Self;

            fn shape() -> $crate::descriptor::Shape {
                $crate::descriptor::Shape::map(<Self as $crate::row::Row>::columns())
            }

            fn to_value(&self) -> $crate::schema::Value {
                $crate::schema::Value::Map(::std::vec![$((
                    $crate::row::name(stringify!($field)).to_owned(),
                    $crate::schema::Field::to_value(&self.$field),
                )),*])
            }

            fn from_value(value: &$crate::schema::Value) -> ::std::option::Option<Self> {
                let $crate::schema::Value::Map(entries) = value else {
                    return ::std::option::Option::None;
                };
                let mut _entries = entries.iter();
                let row = Self { $($field: {
                    let (name, value) = _entries.next()?;
                    if name != $crate::row::name(stringify!($field)) {
                        return ::std::option::Option::None;
                    }
                    $crate::schema::Field::from_value(value)?
                },)* };
                _entries.next().is_none().then_some(row)
            }

            fn scalars(&self, visit: &mut dyn ::std::ops::FnMut(&Self)) {
                visit(self);
            }
        }
    };
}

/// Declares an enum of several kinds of row, each for a table of its own.
///
/// A row turns into it with `into()`.
///
/// ```
/// use sonde_plugin_api::row::Rows;
/// use sonde_plugin_api::{row, tables};
///
/// row! { pub struct ReplyRow { seq: u32, rtt_us: Option<u64> } }
/// row! { pub struct SummaryRow { sent: u32 } }
/// tables! {
///     pub enum PingTables {
///         Replies(ReplyRow) = "replies",
///         Summary(SummaryRow) = "summary",
///     }
/// }
///
/// let row = PingTables::from(SummaryRow { sent: 4 });
/// assert_eq!(PingTables::tables()[usize::from(row.table())].name, "summary");
/// ```
#[macro_export]
macro_rules! tables {
    ($(#[$meta:meta])* $vis:vis enum $Tables:ident {
        $($(#[$variant_meta:meta])* $Variant:ident($Row:ty) = $name:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant)] // a row lives from its making to its encoding
        $vis enum $Tables {
            $($(#[$variant_meta])* #[doc = concat!("A row of `", $name, "`.")] $Variant($Row),)+
        }

        impl $crate::row::Rows for $Tables {
            #[inline]
            fn table(&self) -> u8 {
                #[repr(u8)]
                enum Index { $($Variant,)+ }
                match self {
                    $(Self::$Variant(_) => Index::$Variant as u8,)+
                }
            }

            #[inline]
            fn encode(&self, arena: &mut $crate::schema::Arena<'_>) {
                match self {
                    $(Self::$Variant(row) => $crate::row::Row::encode(row, arena),)+
                }
            }

            fn tables() -> ::std::vec::Vec<$crate::descriptor::Table> {
                ::std::vec![$($crate::row::table_of::<$Row>($name)),+]
            }
        }

        $(impl ::std::convert::From<$Row> for $Tables {
            fn from(row: $Row) -> Self {
                Self::$Variant(row)
            }
        })+
    };
}
