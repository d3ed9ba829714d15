//! What AWS's device SDKs put behind the last `?` of a user name, and into headers or the query of
//! an upgrade. Contract `mqtt-broker.md` §1.2.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

const NAME: &str = "x-amz-customauthorizer-name";
const SIGNATURE: &str = "x-amz-customauthorizer-signature";

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenParts<'a> {
    /// What stands before the last `?`.
    pub(crate) user: &'a str,
    /// Which authorizer.
    pub(crate) name: Option<&'a str>,
    pub(crate) signature: Option<Cow<'a, str>>,
    pub(super) pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> TokenParts<'a> {
    /// The parts of a user name. Names and tokens are not encoded by the SDKs, a signature is
    /// unless it holds a `%` already.
    pub(crate) fn of_username(username: &'a str) -> Self {
        let (user, query) = username.rsplit_once('?').unwrap_or((username, ""));
        Self { user, ..Self::of_pairs(query.split('&').filter_map(|pair| pair.split_once('='))) }
    }

    /// The parts of headers or of a query.
    pub(crate) fn of_pairs(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let pairs: Vec<_> = pairs.collect();
        let find = |wanted: &str| {
            pairs.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|pair| pair.1)
        };
        let (name, signature) = (find(NAME), find(SIGNATURE));
        let signature = signature.map(|it| percent_decode_str(it).decode_utf8_lossy());
        Self { user: "", name, signature, pairs }
    }

    /// The token, under the name that its authorizer looks for.
    pub(crate) fn token(&self, key: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|pair| pair.1)
    }

    /// Whether there is nothing that an authorizer would look at.
    pub(crate) fn is_empty(&self) -> bool {
        let is_metric =
            |name: &str| matches!(name, "SDK" | "Version" | "Platform" | "Metadata" | "AFRLib");
        self.pairs.iter().all(|(name, _)| is_metric(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As captured from AWS's device SDK for Python (§1.2).
    #[test]
    fn the_last_question_mark_begins_the_parts() {
        let parts = TokenParts::of_username(
            "us?er?x-amz-customauthorizer-name=MyAuth&x-amz-customauthorizer-signature=\
             ab%2B/%3D%3D&tok=v1&SDK=IoTDeviceSDK/Python",
        );
        assert_eq!(parts.user, "us?er");
        assert_eq!(parts.name, Some("MyAuth"));
        assert_eq!(parts.signature.as_deref(), Some("ab+/=="));
        assert_eq!(parts.token("tok"), Some("v1"));
        assert!(!parts.is_empty());
    }

    /// B-13: what the SDKs tell of themselves is no credential.
    #[test]
    fn b_13_metrics_are_no_credential() {
        let parts = TokenParts::of_username(
            "?SDK=IoTDeviceSDK/Python&Platform=Unix&Metadata=(CRTVersion=0.36.1;IoT=1)",
        );
        assert!(parts.user.is_empty() && parts.is_empty());
        assert_eq!(TokenParts::of_username("lamp").user, "lamp");
    }
}
