//! `names!`: an enum whose values are words on the wire. A new value is one line.
//!
//! Reading goes through `deserialize_enum`, so that [`super::strict`] sees the known values and can refuse an unknown
//! one even where lenient reading has a stand-in for it.

/// `Name: number type else StandIn { Value = "wire" = number, ... }`; number type and stand-in are optional.
///
/// With a number type the enum gets `number()` and `from_number()`; with a stand-in an unknown word is read as that.
macro_rules! names {
    ($($(#[$meta:meta])* $name:ident $(: $repr:ident)? $(else $stand_in:ident)? {
        $($(#[$value_meta:meta])* $value:ident = $wire:literal $(= $number:literal)?,)+
    })+) => {
        $($(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$value_meta])* $value,)+
        }

        impl $name {
            /// Every value, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$value,)+];
            /// The words of [`Self::ALL`].
            pub const NAMES: &'static [&'static str] = &[$($wire,)+];

            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $wire,)+
                }
            }
        }

        $crate::model::names_macro::numbers!($name ($($repr)?) [$($value $(= $number)?,)+]);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::model::UnknownName;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($wire => Ok(Self::$value),)+
                    _ => Err($crate::model::UnknownName::new(word, stringify!($name), Self::NAMES)),
                }
            }
        }

        $crate::model::names_macro::serialise!($name ($($repr)?) ($($stand_in)?));)+
    };
}

/// The numbers of an enum that has them.
macro_rules! numbers {
    ($name:ident () $values:tt) => {};
    ($name:ident ($repr:ident) [$($value:ident = $number:literal,)+]) => {
        impl $name {
            /// The number at the ABI or on the wire.
            #[must_use]
            pub const fn number(self) -> $repr {
                match self {
                    $(Self::$value => $number,)+
                }
            }

            /// The value of a number, when it is known.
            #[must_use]
            pub const fn from_number(number: $repr) -> Option<Self> {
                match number {
                    $($number => Some(Self::$value),)+
                    _ => None,
                }
            }
        }
    };
}

/// Word in, word out. `Level`, the one enum written as a number (`i8`), has its own code beside it.
macro_rules! serialise {
    ($name:ident (i8) $stand_in:tt) => {};
    ($name:ident ($($repr:ident)?) ($($stand_in:ident)?)) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::model::word::read(from, stringify!($name), Self::NAMES, |word| {
                    let value = word.parse::<Self>();
                    $(let value = value.or(Ok(Self::$stand_in));)?
                    value
                })
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": Self::NAMES })
            }
        }
    };
}

pub(crate) use {names, numbers, serialise};
