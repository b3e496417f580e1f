//! Exact decimal amounts, and their logarithm.

use serde::{Deserialize, Serialize};

/// Significant digits that a logarithm is computed from: 17 fix every `f64`.
const DIGITS_MAX: usize = 17;

/// Longest amount that is read, in characters: 78 digits of 2^256, with room for a point.
pub const AMOUNT_CHARS_MAX: usize = 128;

/// Amount as its sender wrote it, with the logarithm that the statistics use.
///
/// The text is kept, so an amount of 30 digits is reported digit by digit. The logarithm is that of
/// its first 17 significant digits and its power of ten, so it has the full precision of `f64`
/// whatever the size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Amount<'a> {
    text: &'a str,
    ln: Option<f64>,
}

/// Text that is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an amount has 1 to {AMOUNT_CHARS_MAX} characters: digits, and at most one point")]
pub struct AmountError;

impl<'a> Amount<'a> {
    /// Reads an amount: digits with at most one point, of any size up to [`AMOUNT_CHARS_MAX`].
    ///
    /// # Errors
    /// Fails for any other text, also for signs and exponents.
    pub fn parse(text: &'a str) -> Result<Self, AmountError> {
        if text.len() > AMOUNT_CHARS_MAX {
            return Err(AmountError);
        }
        let (mut mantissa, mut kept) = (0_u64, 0_usize);
        // Power of ten of the last digit in the mantissa.
        let (mut exponent, mut has_point, mut has_digit) = (0_i32, false, false);
        for byte in text.bytes() {
            match byte {
                b'.' if !has_point => has_point = true,
                b'0'..=b'9' => {
                    has_digit = true;
                    if kept < DIGITS_MAX {
                        mantissa = mantissa * 10 + u64::from(byte - b'0');
                        kept += usize::from(mantissa > 0);
                        exponent -= i32::from(has_point);
                    } else {
                        exponent += i32::from(!has_point);
                    }
                }
                _ => return Err(AmountError),
            }
        }
        if !has_digit {
            return Err(AmountError);
        }
        let ln = (mantissa > 0)
            .then(|| libm::log(mantissa as f64) + f64::from(exponent) * core::f64::consts::LN_10);
        Ok(Self { text, ln })
    }

    /// Text of the amount, digit by digit.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Natural logarithm; `None` for zero. Between -300 and 300.
    pub fn ln(&self) -> Option<f64> {
        self.ln
    }
}

/// Way of an amount, seen from the wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// The wallet pays, or the contract names no direction.
    Out,
    /// The wallet receives.
    In,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ln(text: &str) -> f64 {
        Amount::parse(text).unwrap().ln().unwrap()
    }

    #[test]
    fn an_amount_of_any_size_keeps_its_logarithm() {
        for (text, expected) in [
            ("1", 0.0),
            ("1.0", 0.0),
            ("0001", 0.0),
            ("1000", 3.0),
            ("0.001", -3.0),
            ("1000000000000000000000000000000", 30.0),
            ("1000000000000000000000000000000.5", 30.0),
            ("0.000000000000000000000000000001", -30.0),
        ] {
            let off = ln(text) - expected * core::f64::consts::LN_10;
            assert!(off.abs() < 1e-12, "{text}: {off}");
        }
    }

    #[test]
    fn large_amounts_that_differ_by_a_thousandth_differ() {
        let step = ln("123456789012345678901234567890") - ln("123333332223333333232333333333");
        assert!((step - 0.001).abs() < 1e-6, "{step}");
    }

    #[test]
    fn zero_has_no_logarithm() {
        for text in ["0", "0.00", "000", "."] {
            let ln = Amount::parse(text).ok().and_then(|amount| amount.ln());
            assert_eq!(ln, None, "{text}");
        }
    }

    #[test]
    fn other_text_is_no_amount() {
        let long = "1".repeat(AMOUNT_CHARS_MAX + 1);
        for text in ["", ".", "-1", "1e5", "1.2.3", "1,000", "0x10", &long] {
            assert_eq!(Amount::parse(text), Err(AmountError), "{text}");
        }
    }
}
