//! The macro that declares parameters.

/// Declares the parameters of a method.
///
/// A field is `name: Type = default => "element" { key: value, … }`. Without a default it is
/// required, unless its type is an `Option`, which is `None` where nothing is given. Each key is a
/// method of [`ParamSpec`](crate::params::ParamSpec). The doc comment is the help text. Beside
/// [`Params`](crate::params::Params) the struct gets `with(required…)`, which gives the others
/// their defaults; where defaults differ by family, those of the first address count.
///
/// ```
/// use std::net::IpAddr;
/// use std::time::Duration;
/// use sonde_plugin_api::params;
/// use sonde_plugin_api::params::Params;
///
/// params! {
///     pub struct PingParams {
///         /// Address to probe.
///         destination: IpAddr => "destination.{ip}",
///         /// Probes to send.
///         count: u32 = 4 => "when.count" { range: 1..=65_535, short: 'c' },
///         wait: Duration = Duration::from_secs(1) => "sonde.ping.wait",
///         size: u16 = 84 => "scamper.ping.size" { range: 28..=65_535, unit: "octets", default_ip6: 56 },
///         checksum: Option<u16> => "scamper.ping.icmp.checksum",
///     }
/// }
///
/// let mut ping = PingParams::with("2001:db8::1".parse().unwrap());
/// assert_eq!((ping.count, ping.size, ping.checksum), (4, 56, None));
///
/// ping.size = 12;
/// let error = PingParams::decode(&ping.to_bytes()).unwrap_err();
/// assert_eq!(error.to_string(), "scamper.ping.size is 12, accepted: 28 ... 65535");
/// ```
#[macro_export]
macro_rules! params {
    ($(#[$meta:meta])* $vis:vis struct $Params:ident { $($body:tt)* }) => {
        $crate::params!(@declare [$(#[$meta])* $vis struct $Params] $($body)*);
        $crate::params!(@with [$vis] $Params [] [] [] $($body)*);
    };

    (@declare [$(#[$meta:meta])* $vis:vis struct $Params:ident] $(
        $(#[doc = $doc:expr])* $field:ident : $type:ty $(= $default:expr)? => $element:literal
        $({ $($key:ident : $value:expr),* $(,)? })?
    ),* $(,)?) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        #[allow(unreachable_pub)] // its fields, where the struct itself is not public
        $vis struct $Params {
            $($(#[doc = $doc])* #[doc = ""] #[doc = concat!("`", $element, "`")] pub $field: $type,)*
        }

        impl $crate::params::Params for $Params {
            fn decode(octets: &[u8]) -> ::std::result::Result<Self, $crate::params::ParamError> {
                #[allow(unused_mut)]
                let mut reader = $crate::params::reader(octets)?;
                $(let $field = $crate::params!(@spec $type, $element, [$($doc),*]
                    $($(, $key $value)*)?).read(&mut reader)?;)*
                $crate::params::finish(reader)?;
                let family = ::std::option::Option::None
                    $(.or_else(|| $field.as_ref().and_then($crate::schema::Field::family)))*;
                let _: ::std::option::Option<$crate::params::Family> = family;
                ::std::result::Result::Ok(Self {
                    $($field: match $field {
                        ::std::option::Option::Some(value) => value,
                        ::std::option::Option::None => {
                            $crate::params!(@spec $type, $element, []
                                $($(, $key $value)*)?)
                                .or_default(family, $crate::params!(@default $($default)?))?
                        }
                    },)*
                })
            }

            fn encode(&self, _arena: &mut $crate::schema::Arena<'_>) {
                $($crate::schema::Field::encode(&self.$field, _arena);)*
            }

            fn family(&self) -> ::std::option::Option<$crate::params::Family> {
                ::std::option::Option::None
                    $(.or_else(|| $crate::schema::Field::family(&self.$field)))*
            }

            fn parameters() -> ::std::vec::Vec<$crate::descriptor::Parameter> {
                ::std::vec![$(
                    $crate::params!(@spec $type, $element, [$($doc),*] $($(, $key $value)*)?)
                        .parameter($crate::params!(@default $($default)?)),
                )*]
            }
        }
    };

    (@spec $type:ty, $element:literal, [$($doc:expr),*] $(, $key:ident $value:expr)*) => {
        $crate::params::ParamSpec::<$type>::new($element, &[$($doc),*])
            $(.$key($value))*
    };
    (@default) => { ::std::option::Option::None };
    (@default $default:expr) => { ::std::option::Option::Some(|| $default) };

    // `with`: required fields become arguments, the others get their defaults
    (@with [$vis:vis] $Params:ident [$($argument:ident : $argument_type:ty,)*] [$($field:ident = $value:expr,)*]
        [$($family:tt)*]) => {
        impl $Params {
            /// Defaults, with the required parameters given.
            #[allow(dead_code, unused_mut)]
            #[must_use]
            $vis fn with($($argument: $argument_type),*) -> Self {
                $(let $field = $value;)*
                let mut params = Self { $($argument,)* $($field,)* };
                $crate::params!(@family params $($family)*);
                params
            }
        }
    };
    (@with [$vis:vis] $Params:ident [$($arguments:tt)*] [$($values:tt)*] [$($family:tt)*]
        $(#[$doc:meta])* $field:ident : Option<$type:ty> => $element:literal
        $({ $($option:tt)* })? $(, $($rest:tt)*)?) => {
        $crate::params!(@with [$vis] $Params [$($arguments)*] [$($values)* $field = None,]
            [$($family)* { $field : Option<$type>, $($($option)*)? }] $($($rest)*)?);
    };
    (@with [$vis:vis] $Params:ident [$($arguments:tt)*] [$($values:tt)*] [$($family:tt)*]
        $(#[$doc:meta])* $field:ident : $type:ty = $default:expr => $element:literal
        $({ $($option:tt)* })? $(, $($rest:tt)*)?) => {
        $crate::params!(@with [$vis] $Params [$($arguments)*] [$($values)* $field = $default,]
            [$($family)* { $field : $type, $($($option)*)? }] $($($rest)*)?);
    };
    (@with [$vis:vis] $Params:ident [$($arguments:tt)*] [$($values:tt)*] [$($family:tt)*]
        $(#[$doc:meta])* $field:ident : $type:ty => $element:literal
        $({ $($option:tt)* })? $(, $($rest:tt)*)?) => {
        $crate::params!(@with [$vis] $Params [$($arguments)* $field : $type,] [$($values)*]
            [$($family)*] $($($rest)*)?);
    };

    (@family $params:ident) => {};
    (@family $params:ident $({ $field:ident : $type:ty, $($key:ident : $value:expr),* $(,)? })*) => {
        let family = $crate::params::Params::family(&$params);
        $({
            let spec = $crate::params!(@spec $type, "", [] $(, $key $value)*);
            if let ::std::option::Option::Some(value) = spec.family_default(family) {
                $params.$field = value;
            }
        })*
    };
}
