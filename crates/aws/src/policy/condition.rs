//! Conditions of a statement, compiled and decided (contract `policies.md` §4).
//!
//! All conditions must hold. Of several values one is enough; of a negated operator's values none
//! may compare. A missing key fails a positive operator and passes a negated one; `IfExists` passes
//! both; a set prefix decides for an empty or missing set by itself.
//!
//! What cannot be compared (a variable without a value, a text where a number belongs) never
//! compares. Under a negated operator that would open an Allow, so there it decides for denial: the
//! condition fails in an Allow and holds in a Deny. The contract is silent on it (our choice).

use core::net::IpAddr;

use thiserror::Error;

use super::document::Effect;
use super::key::{Key, Source};
use super::operator::{Comparison, Operator, Order, Quantifier};
use super::pattern::{Match, Pattern, PatternProblem, Wildcards};
use super::request::{Request, Value, Values};
use crate::sigv4::AmzDate;

/// Why a condition means nothing.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[expect(missing_docs, reason = "each says itself")]
pub enum ConditionProblem {
    #[error("unknown operator")]
    UnknownOperator,
    #[error("the key holds several values: use ForAllValues: or ForAnyValue:")]
    SetWithoutQuantifier,
    #[error("`{value}` is not {expected}")]
    Value { value: String, expected: &'static str },
    #[error(transparent)]
    Pattern(#[from] PatternProblem),
}

/// A block of addresses, `192.0.2.0/24`; an address alone is a block of one.
#[derive(Clone, Copy, Debug)]
struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

/// The values of a condition, as its operator compares them.
#[derive(Debug)]
enum Operands {
    Equal(Box<[Pattern]>),
    EqualIgnoringCase(Box<[Pattern]>),
    Like(Box<[Pattern]>),
    Bool(Box<[bool]>),
    Address(Box<[Network]>),
    Number(Order, Box<[f64]>),
    Date(Order, Box<[u64]>),
    /// Whether the key has to be missing.
    Null(Box<[bool]>),
}

/// One operator on one key.
#[derive(Debug)]
pub(super) struct Condition {
    operator_name: Box<str>,
    operator: Operator,
    key: Key,
    operands: Operands,
}

impl Condition {
    /// Whether it holds at one time and not at another.
    pub(super) fn asks_for_time(&self) -> bool {
        let patterns: &[Pattern] = match &self.operands {
            Operands::Equal(patterns)
            | Operands::EqualIgnoringCase(patterns)
            | Operands::Like(patterns) => patterns,
            Operands::Bool(_)
            | Operands::Address(_)
            | Operands::Number(..)
            | Operands::Date(..)
            | Operands::Null(_) => &[],
        };
        self.key.source == Source::Time || patterns.iter().any(Pattern::asks_for_time)
    }

    pub(super) fn new(
        operator_name: &str,
        key: &str,
        values: &[String],
    ) -> Result<Self, ConditionProblem> {
        let operator = Operator::parse(operator_name).ok_or(ConditionProblem::UnknownOperator)?;
        let key = Key::new(key);
        let is_null = operator.comparison == Comparison::Null;
        if key.is_set() && operator.quantifier == Quantifier::One && !is_null {
            return Err(ConditionProblem::SetWithoutQuantifier);
        }
        let operands = Operands::new(operator.comparison, values)?;
        Ok(Self { operator_name: operator_name.into(), operator, key, operands })
    }

    /// The operator's name.
    pub(super) fn operator_name(&self) -> &str {
        &self.operator_name
    }

    /// The key's name.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// The variables in its values.
    pub(super) fn variables(&self) -> impl Iterator<Item = &Key> {
        let patterns = match &self.operands {
            Operands::Equal(patterns)
            | Operands::EqualIgnoringCase(patterns)
            | Operands::Like(patterns) => &**patterns,
            Operands::Bool(_)
            | Operands::Address(_)
            | Operands::Number(..)
            | Operands::Date(..)
            | Operands::Null(_) => &[],
        };
        patterns.iter().flat_map(Pattern::variables)
    }

    /// Whether it holds, in a statement of this effect.
    ///
    /// Hot: once per condition of a statement whose action and resource match. No allocation.
    pub(super) fn holds(&self, effect: Effect, request: &Request<'_>) -> bool {
        let values = request.values(&self.key);
        let is_missing = matches!(values, Values::Missing);
        if let Operands::Null(wanted) = &self.operands {
            return wanted.contains(&values.iter().next().is_none());
        }
        if is_missing && self.operator.if_exists {
            return true;
        }
        let mut values = values.iter();
        let holds = |value| self.value_holds(effect, value, request);
        match self.operator.quantifier {
            Quantifier::All => values.all(holds),
            Quantifier::Any => values.any(holds),
            Quantifier::One => values.next().map_or(self.operator.negated, holds),
        }
    }

    fn value_holds(&self, effect: Effect, value: Value<'_>, request: &Request<'_>) -> bool {
        match (self.operands.compare(value, request), self.operator.negated) {
            (Match::Yes, negated) => !negated,
            (Match::No, negated) => negated,
            (Match::Unresolved, negated) => negated && effect == Effect::Deny,
        }
    }
}

impl Operands {
    fn new(comparison: Comparison, values: &[String]) -> Result<Self, ConditionProblem> {
        Ok(match comparison {
            Comparison::Text => Self::Equal(patterns(values, Wildcards::Literal)?),
            Comparison::TextIgnoringCase => {
                Self::EqualIgnoringCase(patterns(values, Wildcards::Literal)?)
            }
            Comparison::Glob => Self::Like(patterns(values, Wildcards::Match)?),
            Comparison::Bool => Self::Bool(all(values, "true or false", truth)?),
            Comparison::Null => Self::Null(all(values, "true or false", truth)?),
            Comparison::Address => {
                Self::Address(all(values, "an address or a block of addresses", Network::parse)?)
            }
            Comparison::Number(order) => {
                Self::Number(order, all(values, "a decimal number", number)?)
            }
            Comparison::Date(order) => {
                let expected = "YYYY-MM-DDTHH:MM:SSZ, YYYY-MM-DD or seconds since 1970";
                Self::Date(order, all(values, expected, date)?)
            }
        })
    }

    /// Whether a value of the key compares with any of the values here.
    fn compare(&self, value: Value<'_>, request: &Request<'_>) -> Match {
        match (self, value) {
            (Self::Equal(patterns) | Self::Like(patterns), Value::Text(text)) => {
                first_match(patterns.iter().map(|it| it.matches(text, request)))
            }
            (Self::EqualIgnoringCase(patterns), Value::Text(text)) => {
                first_match(patterns.iter().map(|it| it.equals_ignoring_case(text, request)))
            }
            (Self::Bool(wanted), Value::Text(text)) => {
                known(truth(text), |value| wanted.contains(&value))
            }
            (Self::Address(networks), Value::Text(text)) => {
                let address = text.parse::<IpAddr>().ok().map(|address| address.to_canonical());
                known(address, |address| networks.iter().any(|it| it.contains(address)))
            }
            (Self::Number(order, wanted), value) => {
                let number = match value {
                    Value::Text(text) => number(text),
                    Value::Time(seconds) => Some(approximate(seconds)),
                };
                known(number, |number| wanted.iter().any(|it| order.holds(number, *it)))
            }
            (Self::Date(order, wanted), value) => {
                let moment = match value {
                    Value::Text(text) => date(text),
                    Value::Time(seconds) => Some(seconds),
                };
                known(moment, |moment| wanted.iter().any(|it| order.holds(moment, *it)))
            }
            (
                Self::Equal(_)
                | Self::EqualIgnoringCase(_)
                | Self::Like(_)
                | Self::Bool(_)
                | Self::Address(_),
                Value::Time(_),
            )
            | (Self::Null(_), _) => Match::Unresolved,
        }
    }
}

/// The best of several: a match, else one that could not be decided.
pub(super) fn first_match(matches: impl Iterator<Item = Match>) -> Match {
    let mut best = Match::No;
    for matched in matches {
        match matched {
            Match::Yes => return Match::Yes,
            Match::Unresolved => best = Match::Unresolved,
            Match::No => {}
        }
    }
    best
}

/// Whether a value holds; undecided where it is none.
fn known<T>(value: Option<T>, holds: impl FnOnce(T) -> bool) -> Match {
    value.map_or(Match::Unresolved, |value| holds(value).into())
}

fn patterns(values: &[String], wildcards: Wildcards) -> Result<Box<[Pattern]>, PatternProblem> {
    values.iter().map(|value| Pattern::new(value, wildcards)).collect()
}

fn all<T>(
    values: &[String],
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Box<[T]>, ConditionProblem> {
    let problem = |value: &String| ConditionProblem::Value { value: value.clone(), expected };
    values.iter().map(|value| read(value).ok_or_else(|| problem(value))).collect()
}

fn truth(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A decimal number; exact up to 2^53.
fn number(text: &str) -> Option<f64> {
    let is_byte = |byte: u8| byte.is_ascii_digit() || byte == b'.' || byte == b'-';
    if text.bytes().all(is_byte) { text.parse().ok() } else { None }
}

/// As the operators for numbers see a moment.
#[expect(clippy::cast_precision_loss, reason = "exact for 285 million years")]
fn approximate(seconds: u64) -> f64 {
    seconds as f64
}

/// A moment in seconds since 1970.
fn date(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let (day, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let [year, month, day] = parts(day, '-')?;
    let [hour, minute, second] = parts(time, ':')?;
    let pieces = [year, month, day, "T", hour, minute, second];
    let mut compact = [0; "YYYYMMDDTHHMMSSZ".len()];
    let mut bytes = pieces.into_iter().flat_map(str::bytes);
    for place in &mut compact {
        *place = bytes.next()?;
    }
    let text = str::from_utf8(&compact).ok().filter(|_| bytes.next().is_none())?;
    AmzDate::parse(text).map(AmzDate::unix_seconds)
}

fn parts(text: &str, separator: char) -> Option<[&str; 3]> {
    let mut parts = text.split(separator);
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let prefix_bits = match prefix {
            None => bits_max,
            Some(prefix) if is_number(prefix) => prefix.parse().ok()?,
            Some(_) => return None,
        };
        (prefix_bits <= bits_max).then_some(Self { address, prefix_bits })
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = u32::from(network) ^ u32::from(address);
                differing.leading_zeros() >= self.prefix_bits
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = u128::from(network) ^ u128::from(address);
                differing.leading_zeros() >= self.prefix_bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_three_forms() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-01T00:00:01Z", 1_767_225_601),
            ("2026-01-01", 1_767_225_600),
            ("1767225600", 1_767_225_600),
        ] {
            assert_eq!(date(text), Some(seconds), "{text}");
        }
        for text in ["", "2026", "-1", "2026-02-30", "2026-1-1", "2026-01-01T00:00:00", "x"] {
            // A year alone is seconds.
            assert_eq!(date(text), (text == "2026").then_some(2026), "{text}");
        }
    }

    #[test]
    fn numbers_are_decimal() {
        assert_eq!(number("-1.5"), Some(-1.5));
        for text in ["", "1e3", "inf", "NaN", "0x1", "1-1", "."] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn a_network_holds_what_shares_its_prefix() {
        for (network, address, expected) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.9/24", "192.0.2.1", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("0.0.0.0/0", "255.1.1.1", true),
            ("0.0.0.0/0", "::1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::/32", "2001:db8:1::", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("::/0", "::1", true),
        ] {
            let network_read = Network::parse(network).unwrap();
            assert_eq!(network_read.contains(address.parse().unwrap()), expected, "{network}");
        }
        for text in ["", "192.0.2.0/33", "::/129", "192.0.2.0/", "192.0.2.0/+8", "192.0.2", "*"] {
            assert!(Network::parse(text).is_none(), "{text}");
        }
    }
}
