//! User Properties as AWS carries them over HTTP: base64 of a JSON array of one-key objects.
//!
//! boto3 encodes a JSON string once more than needed, so an array inside a JSON string is read too.
//! Contract §8.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::BASE64;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

/// Bytes of all names and values together.
pub const USER_PROPERTIES_BYTES_MAX: usize = 8 * 1024;

/// Bytes of the encoded form: 8 KiB with every character escaped, and room for many small ones.
const ENCODED_BYTES_MAX: usize = 64 * 1024;

/// The encoded form.
pub(super) fn encode(properties: &[(String, String)]) -> String {
    let objects: Vec<_> =
        properties.iter().map(|(name, value)| BTreeMap::from([(name, value)])).collect();
    // Strings only: there is nothing that cannot be written.
    BASE64.encode(&serde_json::to_vec(&objects).unwrap_or_default())
}

/// The properties in their order; the message says what is wrong with them.
pub(super) fn decode(encoded: &str) -> Result<Vec<(String, String)>, &'static str> {
    if encoded.len() > ENCODED_BYTES_MAX {
        return Err("The user properties are larger than 8 KiB");
    }
    let json = BASE64.decode(encoded.as_bytes()).or(Err("The user properties are not base64"))?;
    let json = serde_json::from_slice(&json).map_or(json, String::into_bytes);
    let objects: Vec<Pairs> = serde_json::from_slice(&json)
        .or(Err("The user properties are not a JSON array of objects of strings"))?;
    if objects.iter().any(|Pairs(pairs)| pairs.len() != 1) {
        return Err("Each user property is an object with one key");
    }
    let properties: Vec<_> = objects.into_iter().flat_map(|Pairs(pairs)| pairs).collect();
    if properties.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
        > USER_PROPERTIES_BYTES_MAX
    {
        return Err("The user properties are larger than 8 KiB");
    }
    if properties.iter().any(|(name, value)| name.contains('\0') || value.contains('\0')) {
        return Err("The user properties contain a NUL");
    }
    Ok(properties)
}

/// The members of an object of strings, also those whose name is there twice.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = members.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

/// The encoded form as a member of a JSON object; absent and null are none.
pub(super) mod member {
    use super::{Deserialize, Deserializer, Serializer};

    // Serde passes the field as it is.
    #[expect(clippy::ref_option, reason = "serde calls it with the field")]
    pub(crate) fn serialize<S: Serializer>(
        properties: &Option<Vec<(String, String)>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match properties {
            Some(properties) => serializer.serialize_str(&super::encode(properties)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<(String, String)>>, D::Error> {
        let encoded: Option<String> = Option::deserialize(deserializer)?;
        encoded.map(|encoded| super::decode(&encoded).map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    /// H-10.
    #[test]
    fn h_10_user_properties_are_read_once_and_twice_encoded() {
        assert_eq!(
            decode("W3siZGV2aWNlTmFtZSI6ImFscGhhIn0seyJkZXZpY2VDbnQiOiI0NSJ9XQ=="),
            Ok(vec![pair("deviceName", "alpha"), pair("deviceCnt", "45")])
        );
        assert_eq!(decode("Ilt7XCJhXCI6XCJiXCJ9XSI="), Ok(vec![pair("a", "b")]));
    }

    #[test]
    fn properties_are_written_in_their_order() {
        let properties = [pair("deviceName", "alpha"), pair("deviceCnt", "45")];
        assert_eq!(
            encode(&properties),
            "W3siZGV2aWNlTmFtZSI6ImFscGhhIn0seyJkZXZpY2VDbnQiOiI0NSJ9XQ=="
        );
        assert_eq!(encode(&[]), "W10=");
    }

    /// Contract §8, pitfalls.
    #[test]
    fn other_shapes_are_refused() {
        for json in [
            r#"[{"name":"a","value":"b"}]"#,
            r#"[{"a":"b","a":"b"}]"#,
            "[{}]",
            r#"{"a":"b"}"#,
            r#"[{"a":1}]"#,
            r#"[{"a":null}]"#,
            r#"["a"]"#,
            r#"[{"a":"b"}"#,
            r#""\"[]\"""#,
            r#"[{"a":"\u0000"}]"#,
            "",
            "null",
            "\u{fffd}",
        ] {
            assert!(decode(&BASE64.encode(json.as_bytes())).is_err(), "{json}");
        }
        for encoded in ["[]", "W10", "W10=\n", "*"] {
            assert!(decode(encoded).is_err(), "{encoded}");
        }
    }

    #[test]
    fn all_properties_share_eight_kibibytes() {
        let half = "x".repeat(4096);
        let full = vec![pair(&half, ""), pair("", &half)];
        assert_eq!(decode(&encode(&full)), Ok(full.clone()));
        let over: Vec<_> = full.into_iter().chain([pair("a", "")]).collect();
        assert!(decode(&encode(&over)).is_err());
        assert!(decode(&encode(&vec![pair("", ""); 8192])).is_err());
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(properties in proptest::collection::vec(
            ("[^\0]{0,8}", "[^\0]{0,8}"), 0..5,
        )) {
            proptest::prop_assert_eq!(decode(&encode(&properties)), Ok(properties));
        }

        #[test]
        fn any_header_is_answered(encoded: String, json: Vec<u8>) {
            for encoded in [encoded, BASE64.encode(&json)] {
                if let Ok(properties) = decode(&encoded) {
                    proptest::prop_assert!(properties.len() <= ENCODED_BYTES_MAX);
                }
            }
        }
    }
}
