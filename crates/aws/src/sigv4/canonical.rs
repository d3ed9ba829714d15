//! The canonical request: the one text that both sides hash, whatever the wire looked like.

use percent_encoding::{AsciiSet, percent_decode, percent_encode};
use sha2::{Digest, Sha256};

use super::SignedRequest;
use super::key::hex;
use crate::api::query::ESCAPED;

/// As a query's escapes, but `/` stays.
const PATH_ESCAPED: &AsciiSet = &ESCAPED.remove(b'/');

/// How the payload stands in a canonical request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Payload {
    Sha256([u8; 32]),
    Unsigned,
}

/// The parts of a canonical request, each in its canonical form.
pub(super) struct Canonical<'a> {
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    pub(super) query: &'a str,
    /// `name:value\n` of each signed header.
    pub(super) headers: &'a [u8],
    /// The names, joined by `;`.
    pub(super) signed_headers: &'a str,
    pub(super) payload: Payload,
}

impl Canonical<'_> {
    pub(super) fn sha256(&self) -> [u8; 32] {
        let payload = match self.payload {
            Payload::Sha256(hash) => hex(&hash),
            Payload::Unsigned => "UNSIGNED-PAYLOAD".to_owned(),
        };
        Sha256::new()
            .chain_update(format!("{}\n{}\n{}\n", self.method, self.uri, self.query))
            .chain_update(self.headers)
            .chain_update(format!("\n{}\n{payload}", self.signed_headers))
            .finalize()
            .into()
    }
}

/// A wire path with every byte but the unreserved ones and `/` escaped: `%2F` becomes `%252F`.
pub(super) fn escape_path(path: &str) -> String {
    percent_encode(path.as_bytes(), PATH_ESCAPED).to_string()
}

/// A path without `.`, `..` and empty segments, as AWS's SDKs sign it. A slash at the end stays.
pub(super) fn normalise_path(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

/// The parameters of a raw query, decoded; `+` is a space.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| percent_decode(text.replace('+', " ").as_bytes()).collect();
        (decode(name), decode(value))
    })
}

/// Parameters escaped once and sorted, by name and then by value.
pub(super) fn canonical_query(parameters: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> String {
    let escape = |text: &[u8]| percent_encode(text, ESCAPED).to_string();
    let mut pairs: Vec<_> =
        parameters.map(|(name, value)| (escape(&name), escape(&value))).collect();
    pairs.sort_unstable();
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// `name:value\n` of each name; `host` replaces the value of that header.
///
/// Space around a value goes, space inside it is one space, repeated headers are joined by `,`.
/// A header that is not there has an empty value and so never has the signature of a real one.
pub(super) fn canonical_headers<'n>(
    request: &SignedRequest<'_>,
    names: impl Iterator<Item = &'n str>,
    host: Option<&[u8]>,
) -> Vec<u8> {
    let mut lines = Vec::new();
    for name in names {
        lines.extend_from_slice(name.as_bytes());
        lines.push(b':');
        match host {
            Some(host) if name == "host" => lines.extend_from_slice(host),
            _ => {
                let values: Vec<_> = request.values(name).map(single_spaced).collect();
                lines.extend_from_slice(&values.join(&b','));
            }
        }
        lines.push(b'\n');
    }
    lines
}

fn single_spaced(value: &[u8]) -> Vec<u8> {
    let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(raw: &str) -> String {
        canonical_query(parameters(raw))
    }

    #[test]
    fn paths_are_escaped_once_more() {
        for (wire, canonical) in [
            ("/connections/a%2Fb%20c", "/connections/a%252Fb%2520c"),
            ("/topics/a/b", "/topics/a/b"),
            ("/topics/!'()*~", "/topics/%21%27%28%29%2A~"),
            ("/topics/ü", "/topics/%C3%BC"),
        ] {
            assert_eq!(escape_path(wire), canonical);
        }
    }

    /// Contract §6: what boto3 and the Rust SDK do before they sign.
    #[test]
    fn paths_are_normalised() {
        for (wire, normal) in [
            ("", "/"),
            ("/", "/"),
            ("/topics/", "/topics/"),
            ("/topics//a", "/topics/a"),
            ("/topics/.", "/topics"),
            ("/connections/..", "/"),
            ("/connections/../subscriptions", "/subscriptions"),
            ("/../..", "/"),
            ("/a/./b/../c/", "/a/c/"),
            ("/a/.../%2E%2E", "/a/.../%2E%2E"),
        ] {
            assert_eq!(normalise_path(wire), normal, "{wire}");
        }
    }

    #[test]
    fn queries_are_escaped_once_and_sorted_by_name_then_value() {
        for (wire, canonical) in [
            ("", ""),
            ("&&", ""),
            ("b=1&a=2&a=1", "a=1&a=2&b=1"),
            ("a-b=1&a=1", "a=1&a-b=1"),
            ("topic=t%2fo+p", "topic=t%2Fo%20p"),
            ("%61=%7E%zz", "a=~%25zz"),
            ("flag&x=a=b", "flag=&x=a%3Db"),
            ("u=%C3%BC", "u=%C3%BC"),
        ] {
            assert_eq!(query(wire), canonical, "{wire}");
        }
    }

    #[test]
    fn headers_are_trimmed_single_spaced_and_joined() {
        let headers: &[(&str, &[u8])] =
            &[("Host", b"h:1"), ("X-A", b"  a   b\tc "), ("x-a", b"d"), ("X-B", b"\xFF")];
        let request =
            SignedRequest { method: "GET", path: "/", query: "", headers, payload_sha256: [0; 32] };
        let names = || ["host", "x-a", "x-b", "x-c"].into_iter();
        let lines = canonical_headers(&request, names(), None);
        assert_eq!(lines, b"host:h:1\nx-a:a b c,d\nx-b:\xFF\nx-c:\n");
        let lines = canonical_headers(&request, names(), Some(b"h"));
        assert!(lines.starts_with(b"host:h\nx-a:"));
    }
}
