//! Our own list of connections, asked for as AWS's lists are.

use super::PAGE_ITEMS_MAX;
use super::query::Query;
use crate::error::{ApiError, ErrorKind};

/// Asks for a page of the sessions of a server, connected or not, by client id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListConnections {
    /// Only client ids that begin so. Default all.
    pub prefix: String,
    /// `Some(true)`: connected ones only; `Some(false)`: offline ones only. Default both.
    pub connected: Option<bool>,
    /// Sessions of the page at most, 1 to 200. Default 100.
    pub max_results: usize,
    /// The client id the page begins behind, from `nextToken`; `None` is the first page.
    pub after: Option<String>,
}

impl ListConnections {
    const MAX_RESULTS_DEFAULT: usize = PAGE_ITEMS_MAX / 2;

    /// Validates what follows `?`.
    pub fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        const KNOWN: [&str; 4] = ["prefix", "connected", "maxResults", "nextToken"];
        let query = Query::parse(query)?;
        if let Some(unknown) = query.names().find(|name| !KNOWN.contains(name)) {
            let unknown: String = unknown.chars().take(32).collect();
            let message = format!("Unknown parameter {unknown:?}; known are {}", KNOWN.join(", "));
            return Err(ApiError::new(ErrorKind::InvalidRequest, message));
        }
        Ok(Self {
            prefix: query.get("prefix").unwrap_or_default().to_owned(),
            connected: query.get("connected").map(|_| query.flag("connected")).transpose()?,
            max_results: query.max_results(Self::MAX_RESULTS_DEFAULT)?,
            after: query.after()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_optional_and_checked() {
        let all = ListConnections::parse(None).unwrap();
        assert_eq!((all.prefix.as_str(), all.connected, all.max_results), ("", None, 100));
        let some =
            ListConnections::parse(Some("prefix=a%2F&connected=FALSE&maxResults=7")).unwrap();
        assert_eq!(
            (some.prefix.as_str(), some.connected, some.max_results),
            ("a/", Some(false), 7)
        );
        for query in ["connected=1", "maxResults=0", "maxResults=201", "nextToken=x", "perfix=a"] {
            assert!(ListConnections::parse(Some(query)).is_err(), "{query}");
        }
    }
}
