//! Conversion of a setting's text to its value.

/// A value, or the rule that its text breaks.
pub type Parsed<T> = Result<T, String>;

/// Form of a value, for editors and the reference page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A whole number within bounds, as decimal text.
    Integer {
        /// Smallest value.
        min: String,
        /// Largest value.
        max: String,
    },
    /// A number with a fraction.
    Number,
    /// `true` or `false`.
    Boolean,
    /// One of a few words.
    Words(Vec<&'static str>),
    /// A duration such as `250ms`, with its bounds in words.
    Duration(String),
    /// A size such as `16MiB`, with its bounds in words.
    Size(String),
    /// Any other text. A TOML file must quote it: `0x10` without quotes would become 16.
    Text,
}

type Parser<T> = dyn Fn(&str) -> Parsed<T>;

/// Conversion of a text to a value of type `T`.
pub struct Kind<T> {
    shape: Shape,
    parse: Box<Parser<T>>,
}

impl<T> Kind<T> {
    /// Makes a kind from its shape and its parser.
    pub fn new(shape: Shape, parse: impl Fn(&str) -> Parsed<T> + 'static) -> Self {
        Self {
            shape,
            parse: Box::new(parse),
        }
    }

    /// Makes a kind of text from its parser.
    pub fn text(parse: impl Fn(&str) -> Parsed<T> + 'static) -> Self {
        Self::new(Shape::Text, parse)
    }

    /// Returns the form of the value.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Converts a text.
    ///
    /// # Errors
    /// Returns the rule that the text breaks.
    pub fn parse(&self, text: &str) -> Parsed<T> {
        (self.parse)(text)
    }
}
