//! URLs of a server: a scheme, a host and a port, and nothing else.

use http::Uri;

/// What a URL says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ServerUrl {
    /// Host name or address, IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) is_tls: bool,
    /// Host, IPv6 in brackets, and the port where it is not the scheme's.
    pub(crate) authority: String,
}

/// A scheme with its port, and whether it is TLS.
pub(crate) type Scheme = (&'static str, u16, bool);

impl ServerUrl {
    /// Reads `scheme://host[:port][/]` of one of these schemes; `None` for everything else.
    pub(crate) fn parse(url: &str, schemes: &[Scheme]) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let (_, default, is_tls) =
            *schemes.iter().find(|(scheme, ..)| uri.scheme_str() == Some(*scheme))?;
        let authority = uri.authority()?;
        let has_path = !matches!(uri.path(), "" | "/") || uri.query().is_some();
        if has_path || authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        // `http` reads a port that is no number as none.
        let port = match authority.as_str().strip_prefix(authority.host())?.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None => default,
        };
        let host = authority.host();
        Some(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            is_tls,
            authority: if port == default { host.to_owned() } else { format!("{host}:{port}") },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMES: &[Scheme] = &[("http", 80, false), ("https", 443, true)];

    fn parts(url: &str) -> (String, u16, bool, String) {
        let url = ServerUrl::parse(url, SCHEMES).unwrap();
        (url.host, url.port, url.is_tls, url.authority)
    }

    #[test]
    fn the_port_is_in_the_authority_only_where_it_is_not_the_schemes() {
        assert_eq!(parts("http://h"), ("h".into(), 80, false, "h".into()));
        assert_eq!(parts("http://h:80/"), ("h".into(), 80, false, "h".into()));
        assert_eq!(parts("https://h:80"), ("h".into(), 80, true, "h:80".into()));
        assert_eq!(parts("https://h:443"), ("h".into(), 443, true, "h".into()));
        assert_eq!(parts("http://[::1]:8830"), ("::1".into(), 8830, false, "[::1]:8830".into()));
        assert_eq!(parts("http://[::1]"), ("::1".into(), 80, false, "[::1]".into()));
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "",
            "h",
            "h:80",
            "ftp://h",
            "http://",
            "http://h/a",
            "http://h?a",
            "http://u@h",
            "http://h:",
            "http://h:x",
            "http://h:65536",
        ] {
            assert_eq!(ServerUrl::parse(url, SCHEMES), None, "{url}");
        }
    }
}
