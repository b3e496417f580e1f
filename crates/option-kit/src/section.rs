//! Declaration of a section of settings.

use crate::field::{Field, Table};
use crate::kind::Shape;
use crate::layers::Layers;
use crate::reader::SettingsReader;
use crate::rule::Rule;

/// A section of settings, which [`crate::options!`] creates.
pub trait Options: Sized + 'static {
    /// The settings, in the order of the examples.
    const FIELDS: &'static [Field];

    /// Reads each setting. A faulty one takes its default, and its fault goes to the reader.
    fn read(reader: &mut SettingsReader) -> Self;

    /// Rules between the settings of the section.
    const RULES: &'static [Rule<Self>];

    /// Form of each setting's value, in the order of [`Self::FIELDS`].
    fn shapes() -> Vec<Shape>;
}

/// Returns a section with its defaults.
pub fn defaults<T: Options>() -> T {
    let table = Table(const { &[T::FIELDS] });
    T::read(&mut SettingsReader::new(Layers::defaults(table)))
}

/// Declares a section of settings as a struct.
///
/// Each field has a doc comment, which is also its line for the operator, a default as text, and a
/// [`Kind`](crate::Kind). Flags follow: `secret`, `live`, `alias "NAME"`. `as "key"` sets a key
/// that differs from the field's name. `rules RULES` after the section's name adds the [`Rule`]s
/// between its settings.
///
/// ```
/// use risksignal_option_kit::{Options, duration, ms, number, options, MINUTE};
/// use std::time::Duration;
///
/// options! {
///     /// Bounds at which a batch closes.
///     #[derive(Debug)]
///     pub struct Batch in "batch" {
///         /// Rows at which a batch closes.
///         max_rows: usize = "20000", number(1..=1_000_000), live;
///         /// Longest time that a batch collects.
///         max_wait: Duration = "250ms", duration(ms(1)..=10 * MINUTE), live;
///     }
/// }
/// assert_eq!(Batch::FIELDS[0].key, "batch.max_rows");
/// assert_eq!(Batch::FIELDS[0].about(), "Rows at which a batch closes");
/// ```
#[macro_export]
macro_rules! options {
    (
        $(#[$meta:meta])*
        pub struct $name:ident in $section:literal $(, rules $rules:path)? {
            $(
                $(#[doc = $about:literal])+
                $field:ident $(as $key:literal)?: $type:ty = $default:literal, $kind:expr
                    $(, $flag:ident $($flag_value:literal)?)*;
            )+
        }
    ) => {
        $(#[$meta])*
        pub struct $name {
            $(
                $(#[doc = $about])+
                pub $field: $type,
            )+
        }

        impl $crate::Options for $name {
            const FIELDS: &'static [$crate::Field] = &[$(
                $crate::Field::new(
                    $crate::options!(@key $section, $field $(, $key)?),
                    $default,
                    concat!($($about),+),
                )$(.$flag($($flag_value)?))*
            ),+];

            const RULES: &'static [$crate::Rule<Self>] = $crate::options!(@rules $($rules)?);

            fn read(reader: &mut $crate::SettingsReader) -> Self {
                Self {$(
                    $field: reader.read($crate::options!(@key $section, $field $(, $key)?), $kind)
                ),+}
            }

            fn shapes() -> Vec<$crate::Shape> {
                vec![$({
                    let kind: $crate::Kind<$type> = $kind;
                    kind.shape().clone()
                }),+]
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $crate::defaults()
            }
        }
    };
    (@rules) => { &[] };
    (@rules $rules:path) => { $rules };
    (@key $section:literal, $field:ident) => {
        concat!($section, ".", stringify!($field))
    };
    (@key $section:literal, $field:ident, $key:literal) => {
        concat!($section, ".", $key)
    };
}
