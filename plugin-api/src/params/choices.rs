//! Parameters and columns that are one of several names.

/// Declares an enum whose variants have names for people and for the wire.
///
/// It gets `ALL`, `NAMES`, `name()`, `Display`, `FromStr` (in any case), and can be used as the type
/// of a parameter or column. `Clone`, `Copy`, comparison, `Debug` and `Hash` are derived.
///
/// ```
/// use sonde_plugin_api::choices;
///
/// choices! {
///     /// What a probe is made of.
///     pub enum Kind {
///         /// An ICMP echo request.
///         IcmpEcho = "icmp-echo",
///         Udp = "udp",
///     }
/// }
///
/// assert_eq!("ICMP-Echo".parse(), Ok(Kind::IcmpEcho));
/// assert_eq!(Kind::Udp.to_string(), "udp");
/// assert_eq!(Kind::NAMES, ["icmp-echo", "udp"]);
/// ```
#[macro_export]
macro_rules! choices {
    ($(#[$meta:meta])* $vis:vis enum $Choice:ident {
        $($(#[$variant_meta:meta])* $Variant:ident = $name:literal),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[allow(unreachable_pub)] // a private module's; the descriptor makes it known all the same
        $vis enum $Choice {
            $($(#[$variant_meta])* #[doc = concat!("`", $name, "`")] $Variant,)*
        }

        #[allow(dead_code, unreachable_pub)] // not every method uses every one of them
        impl $Choice {
            /// In declared order.
            $vis const ALL: &'static [Self] = &[$(Self::$Variant),*];
            /// Names in the order of [`Self::ALL`].
            $vis const NAMES: &'static [&'static str] = &[$($name),*];

            /// As people and the wire spell it.
            #[must_use]
            $vis const fn name(self) -> &'static str {
                match self {
                    $(Self::$Variant => $name,)*
                }
            }
        }

        impl ::std::fmt::Display for $Choice {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.name())
            }
        }

        /// In any case; the error is all the names that there are.
        impl ::std::str::FromStr for $Choice {
            type Err = &'static [&'static str];

            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                let same = |choice: &&Self| choice.name().eq_ignore_ascii_case(text);
                Self::ALL.iter().find(same).copied().ok_or(Self::NAMES)
            }
        }

        impl $crate::schema::Field for $Choice {
            type Scalar = Self;

            fn shape() -> $crate::descriptor::Shape {
                $crate::descriptor::Shape::choice(Self::NAMES)
            }

            #[inline]
            fn encode(&self, arena: &mut $crate::schema::Arena<'_>) {
                arena.text(self.name());
            }

            fn to_value(&self) -> $crate::schema::Value {
                $crate::schema::Value::Text(self.name().to_owned())
            }

            fn from_value(value: &$crate::schema::Value) -> ::std::option::Option<Self> {
                match value {
                    $crate::schema::Value::Text(text) => text.parse().ok(),
                    _ => ::std::option::Option::None,
                }
            }

            fn scalars(&self, visit: &mut dyn ::std::ops::FnMut(&Self)) {
                visit(self);
            }
        }
    };
}
