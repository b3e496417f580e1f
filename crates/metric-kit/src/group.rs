//! Declaration of the metrics of a component.

use prometheus::Result;

use crate::declaration::Declaration;
use crate::registry::Registry;

/// The metrics of a component; made by [`crate::metrics!`].
pub trait MetricGroup: Sized {
    /// The group as it was declared.
    const GROUP: Group;

    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When a name is malformed, or registered already.
    fn register(registry: &Registry) -> Result<Self>;
}

/// The metrics of a component as they were declared.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// The metrics, in order.
    pub metrics: &'static [Declaration],
    doc: &'static str,
}

impl Group {
    /// Declares a group; `doc` is the doc comment of its struct.
    pub const fn new(doc: &'static str, metrics: &'static [Declaration]) -> Self {
        Self { metrics, doc }
    }

    /// The doc comment as one line, without the final period.
    pub fn title(&self) -> &'static str {
        let line = self.doc.trim();
        line.strip_suffix('.').unwrap_or(line)
    }
}

/// Declares the metrics of a component as a struct.
///
/// The doc comment of the struct is the heading in the reference page. Each field is the metric of
/// the same name behind `risksignal_`; its doc comment is the help text. `label "name"` gives a
/// label, `in VALUES` all its values: where all labels have values, all series begin at zero.
/// `buckets BOUNDS` gives a histogram's bounds.
///
/// ```
/// use risksignal_metric_kit::{IntCounter, IntCounterVec, MetricGroup, Registry, metrics};
///
/// metrics! {
///     /// Letters.
///     pub struct LetterMetrics {
///         /// Letters that were posted.
///         letters_posted_total: IntCounter;
///         /// Letters that came back, by reason.
///         letters_returned_total: IntCounterVec, label "reason" in &["address", "postage"];
///     }
/// }
/// let registry = Registry::default();
/// let metrics = LetterMetrics::register(&registry)?;
/// metrics.letters_posted_total.inc();
/// assert_eq!(registry.snapshot().total("letters_posted_total"), 1.0);
/// assert_eq!(registry.snapshot().series("letters_returned_total").len(), 2);
/// # Ok::<(), risksignal_metric_kit::Error>(())
/// ```
#[macro_export]
macro_rules! metrics {
    (
        $(#[doc = $title:literal])+
        pub struct $name:ident {
            $(
                $(#[doc = $help:literal])+
                $field:ident: $type:ty
                    $(, label $label:literal $(in $values:expr)?)*
                    $(, buckets $buckets:expr)?;
            )+
        }
    ) => {
        $(#[doc = $title])+
        #[derive(Debug, Clone)]
        pub struct $name {
            $(
                $(#[doc = $help])+
                pub $field: $type,
            )+
        }

        impl $crate::MetricGroup for $name {
            const GROUP: $crate::Group = $crate::Group::new(
                concat!($($title),+),
                &[$(
                    $crate::Declaration::new::<$type>(
                        concat!("risksignal_", stringify!($field)),
                        concat!($($help),+),
                        &[$($crate::Label {
                            name: $label,
                            values: $crate::metrics!(@or_none $($values)?),
                        }),*],
                        $crate::metrics!(@or_none $($buckets)?),
                    )
                ),+],
            );

            fn register(registry: &$crate::Registry) -> $crate::Result<Self> {
                let mut declarations = Self::GROUP.metrics.iter();
                Ok(Self {
                    $($field: registry.next(&mut declarations)?),+
                })
            }
        }
    };
    (@or_none) => { &[] };
    (@or_none $given:expr) => { $given };
}
