//! A number as it was written, compared by what it is worth.

/// A JSON number's text. A double can hold its magnitude.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::shadow) struct Number(Box<str>);

/// A value: the digits without zeros around them, and the power of ten of the first one.
#[derive(Eq, PartialEq)]
struct Worth<'a> {
    is_negative: bool,
    digits: Digits<'a>,
    exponent: i64,
}

/// Digits before and behind the point.
struct Digits<'a>(&'a [u8], &'a [u8]);

impl Number {
    /// The number that `text` writes, if it is one by JSON's grammar and below 1.8e308.
    pub(in crate::shadow) fn new(text: &str) -> Option<Self> {
        let is_finite = text.parse().is_ok_and(f64::is_finite);
        (is_number(text) && is_finite).then(|| Self(text.into()))
    }

    /// As it was written.
    pub(in crate::shadow) fn text(&self) -> &str {
        &self.0
    }

    /// Whether both are worth the same: 1, 1.0 and 10e-1 are.
    pub(in crate::shadow) fn is_same(&self, other: &Self) -> bool {
        self.0 == other.0 || self.worth() == other.worth()
    }

    fn worth(&self) -> Worth<'_> {
        let (is_negative, text) = match self.0.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, &*self.0),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = Digits(whole.as_bytes(), fraction.as_bytes());
        let Some(leading) = digits.iter().position(|digit| digit != b'0') else {
            // Zero has no sign and no exponent.
            return Worth { is_negative: false, digits: Digits(b"", b""), exponent: 0 };
        };
        // What is too small for the type is too small for a double, too.
        let exponent = exponent.parse().unwrap_or(i64::MIN);
        let first = whole.len() as i64 - leading as i64;
        Worth { is_negative, digits, exponent: exponent.saturating_add(first) }
    }
}

impl Digits<'_> {
    fn iter(&self) -> impl DoubleEndedIterator<Item = u8> {
        self.0.iter().chain(self.1).copied()
    }
}

impl PartialEq for Digits<'_> {
    fn eq(&self, other: &Self) -> bool {
        let is_zero = |digit: &u8| *digit == b'0';
        let zeros = |digits: &Self| digits.iter().rev().take_while(is_zero).count();
        let significant = |digits: &Self| digits.0.len() + digits.1.len() - zeros(digits);
        let one = self.iter().take(significant(self)).skip_while(is_zero);
        one.eq(other.iter().take(significant(other)).skip_while(is_zero))
    }
}

impl Eq for Digits<'_> {}

/// JSON's grammar: `-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?`.
fn is_number(text: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    is_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(is_digits)
        && exponent.is_none_or(|it| is_digits(it.strip_prefix(['+', '-']).unwrap_or(it)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_same(one: &str, other: &str) -> bool {
        Number::new(one).unwrap().is_same(&Number::new(other).unwrap())
    }

    /// S-15.
    #[test]
    fn numbers_are_compared_by_value() {
        for (one, other) in [
            ("1", "1.0"),
            ("1", "1e0"),
            ("1", "10E-1"),
            ("1", "0.1e+1"),
            ("-1.50", "-15e-1"),
            ("0", "-0.0e7"),
            ("100", "1e2"),
            ("1000000000000000000000000", "1e24"),
            ("0.001", "1e-3"),
            ("0e99999999999999999999", "0"),
        ] {
            assert!(is_same(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("1", "-1"),
            ("1", "10"),
            ("1.5", "15"),
            ("9007199254740993", "9007199254740992"),
            ("0.1", "0.10000000000000001"),
            ("1e-400", "2e-400"),
        ] {
            assert!(!is_same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn only_what_json_and_a_double_know_is_a_number() {
        for text in ["0", "-0", "10", "1.25e-7", "1E+300", "1e-400"] {
            assert_eq!(Number::new(text).unwrap().text(), text);
        }
        for text in [
            "", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x1", "NaN", "inf", "Infinity", " 1",
            "1 ", "1e309", "-1e309", "1_0", "١",
        ] {
            assert_eq!(Number::new(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_moved_point_changes_nothing(
            one in -9_999_i64..9_999,
            other in -9_999_i64..9_999,
            moved in 0_u32..4,
            exponent in -3_i64..4,
        ) {
            let shifted = format!("{}e{}", other * 10_i64.pow(moved), exponent - i64::from(moved));
            let written = format!("{one}e{exponent}");
            proptest::prop_assert_eq!(is_same(&written, &shifted), one == other);
        }
    }
}
