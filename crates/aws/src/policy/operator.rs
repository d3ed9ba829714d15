//! Names of condition operators (contract `policies.md` §4).
//!
//! A name is an optional set prefix (`ForAllValues:`, `ForAnyValue:`), a test, and an optional
//! `IfExists`. `Null` takes neither. Names compare with case.

/// How a condition treats a key's several values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Quantifier {
    /// The key has one value at most.
    One,
    /// Every value holds; true for none.
    All,
    /// At least one value holds; false for none.
    Any,
}

/// What is compared, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Comparison {
    /// Texts, as they are.
    Text,
    /// Texts, without case.
    TextIgnoringCase,
    /// Texts, with wildcards; ARNs too.
    Glob,
    Bool,
    Address,
    Number(Order),
    Date(Order),
    Null,
}

/// How two numbers or moments are to stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// An operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Operator {
    pub(super) quantifier: Quantifier,
    pub(super) comparison: Comparison,
    /// None of the values may compare.
    pub(super) negated: bool,
    pub(super) if_exists: bool,
}

const TESTS: &[(&str, Comparison, bool)] = &[
    ("StringEquals", Comparison::Text, false),
    ("StringNotEquals", Comparison::Text, true),
    ("StringEqualsIgnoreCase", Comparison::TextIgnoringCase, false),
    ("StringNotEqualsIgnoreCase", Comparison::TextIgnoringCase, true),
    ("StringLike", Comparison::Glob, false),
    ("StringNotLike", Comparison::Glob, true),
    ("ArnEquals", Comparison::Glob, false),
    ("ArnLike", Comparison::Glob, false),
    ("ArnNotEquals", Comparison::Glob, true),
    ("ArnNotLike", Comparison::Glob, true),
    ("Bool", Comparison::Bool, false),
    ("IpAddress", Comparison::Address, false),
    ("NotIpAddress", Comparison::Address, true),
    ("NumericEquals", Comparison::Number(Order::Equal), false),
    ("NumericNotEquals", Comparison::Number(Order::Equal), true),
    ("NumericLessThan", Comparison::Number(Order::Less), false),
    ("NumericLessThanEquals", Comparison::Number(Order::LessOrEqual), false),
    ("NumericGreaterThan", Comparison::Number(Order::Greater), false),
    ("NumericGreaterThanEquals", Comparison::Number(Order::GreaterOrEqual), false),
    ("DateEquals", Comparison::Date(Order::Equal), false),
    ("DateNotEquals", Comparison::Date(Order::Equal), true),
    ("DateLessThan", Comparison::Date(Order::Less), false),
    ("DateLessThanEquals", Comparison::Date(Order::LessOrEqual), false),
    ("DateGreaterThan", Comparison::Date(Order::Greater), false),
    ("DateGreaterThanEquals", Comparison::Date(Order::GreaterOrEqual), false),
    ("Null", Comparison::Null, false),
];

impl Operator {
    /// The operator of a name; `None` where there is no such operator.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (quantifier, rest) = match name.split_once(':') {
            Some(("ForAllValues", rest)) => (Quantifier::All, rest),
            Some(("ForAnyValue", rest)) => (Quantifier::Any, rest),
            Some(_) => return None,
            None => (Quantifier::One, name),
        };
        let (rest, if_exists) = match rest.strip_suffix("IfExists") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (_, comparison, negated) = *TESTS.iter().find(|(test, ..)| *test == rest)?;
        let plain = quantifier == Quantifier::One && !if_exists;
        let operator = Self { quantifier, comparison, negated, if_exists };
        (plain || comparison != Comparison::Null).then_some(operator)
    }
}

impl Order {
    /// Whether `a` stands so to `b`.
    pub(super) fn holds<T: PartialOrd>(self, a: T, b: T) -> bool {
        match self {
            Self::Equal => a == b,
            Self::Less => a < b,
            Self::LessOrEqual => a <= b,
            Self::Greater => a > b,
            Self::GreaterOrEqual => a >= b,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_a_quantifier_a_test_and_if_exists() {
        let operator = Operator::parse("ForAllValues:StringNotLikeIfExists").unwrap();
        assert_eq!(operator.quantifier, Quantifier::All);
        assert_eq!(operator.comparison, Comparison::Glob);
        assert!(operator.negated && operator.if_exists);
        assert!(TESTS.iter().all(|(name, ..)| Operator::parse(name).is_some()));
        for name in [
            "",
            "stringEquals",
            "StringEqual",
            "IfExists",
            "ForSomeValues:StringEquals",
            "ForAllValues:ForAnyValue:StringEquals",
            "NullIfExists",
            "ForAnyValue:Null",
            "BinaryEquals",
        ] {
            assert_eq!(Operator::parse(name), None, "{name}");
        }
    }
}
