//! GetThingShadow, UpdateThingShadow, DeleteThingShadow and ListNamedShadowsForThing: what they
//! ask, and what the list answers.
//!
//! The other three are answered by [`crate::shadow::Shadow`], whose bodies they carry as they are.
//! Contract §2 and `device-shadow.md` §2.

use serde::{Deserialize, Serialize};

use super::HttpRequestParts;
use super::page::next_token;
use super::query::{Query, QueryWriter, encode, integer};
use crate::error::{ApiError, ErrorKind};
use crate::shadow::{InvalidName, ShadowId, is_thing_name};

/// Asks for a shadow's document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GetThingShadow {
    /// Which shadow; `name` in the query, absent for the classic one.
    pub shadow: ShadowId,
}

/// Changes a shadow's document. The body is the update, and stays with the caller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpdateThingShadow {
    /// Which shadow; `name` in the query, absent for the classic one.
    pub shadow: ShadowId,
}

/// Deletes a shadow.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeleteThingShadow {
    /// Which shadow; `name` in the query, absent for the classic one.
    pub shadow: ShadowId,
}

/// Asks for a page of the names of a thing's shadows. Answered by [`NamedShadowPage`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListNamedShadowsForThing {
    /// Whose shadows; the thing need not exist.
    pub thing_name: String,
    /// Names of the page at most, 1 to 100. Default 100; AWS names none, and callers without a
    /// paginator read one page.
    pub page_size: usize,
    /// The name the page begins behind, from `nextToken`; `None` is the first page.
    pub after: Option<String>,
}

macro_rules! of_one_shadow {
    ($($request:ident by $method:literal;)*) => {$(
        impl $request {
            /// Validates the name in the path and the query.
            pub(super) fn parse(thing_name: &str, query: &Query) -> Result<Self, ApiError> {
                shadow(thing_name, query).map(|shadow| Self { shadow })
            }

            /// The request as AWS's SDKs write it.
            #[must_use]
            pub fn encode(&self) -> HttpRequestParts {
                let path = format!("/things/{}/shadow", encode(self.shadow.thing()));
                let query = QueryWriter::default().add("name", self.shadow.name());
                HttpRequestParts::new($method, path, query)
            }
        }
    )*};
}

of_one_shadow! {
    GetThingShadow by "GET";
    UpdateThingShadow by "POST";
    DeleteThingShadow by "DELETE";
}

impl ListNamedShadowsForThing {
    const PAGE_SIZE_MAX: usize = 100;
    const PAGE_SIZE_DEFAULT: usize = Self::PAGE_SIZE_MAX;

    /// Validates the name in the path and the query.
    pub(super) fn parse(thing_name: &str, query: &Query) -> Result<Self, ApiError> {
        if !is_thing_name(thing_name) {
            return Err(invalid_name(InvalidName::Thing));
        }
        Ok(Self {
            thing_name: thing_name.to_owned(),
            page_size: Self::page_size(query)?,
            after: query.after()?,
        })
    }

    fn page_size(query: &Query) -> Result<usize, ApiError> {
        let Some(value) = query.get("pageSize") else { return Ok(Self::PAGE_SIZE_DEFAULT) };
        let known = integer(value).filter(|number| (1..=Self::PAGE_SIZE_MAX).contains(number));
        known.ok_or_else(|| invalid("pageSize is an integer from 1 to 100"))
    }

    /// The request as AWS's SDKs write it.
    #[must_use]
    pub fn encode(&self) -> HttpRequestParts {
        let page_size =
            (self.page_size != Self::PAGE_SIZE_DEFAULT).then(|| self.page_size.to_string());
        let query = QueryWriter::default()
            .add("nextToken", self.after.as_deref().map(next_token).as_deref())
            .add("pageSize", page_size.as_deref());
        let thing_name = encode(&self.thing_name);
        let path = format!("/api/things/shadow/ListNamedShadowsForThing/{thing_name}");
        HttpRequestParts::new("GET", path, query)
    }

    /// The page of `names`, the thing's named shadows in the order of their bytes. `now` is in
    /// seconds since 1970.
    pub fn page<'a>(&self, names: impl Iterator<Item = &'a str>, now: u64) -> NamedShadowPage {
        let mut behind = names.filter(|name| self.after.as_deref().is_none_or(|it| *name > it));
        let results: Vec<_> = behind.by_ref().take(self.page_size).map(ToOwned::to_owned).collect();
        let last = results.last().filter(|_| behind.next().is_some());
        let next_token = last.map(|last| next_token(last));
        NamedShadowPage { results, next_token, timestamp: now }
    }
}

/// A page of the names of a thing's shadows, in the order of their bytes, without the classic one.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NamedShadowPage {
    /// The page.
    pub results: Vec<String>,
    /// Where the next page begins; left out on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// When it was asked for, in seconds since 1970.
    pub timestamp: u64,
}

/// The shadow of a request. An empty `name` is not the classic shadow.
fn shadow(thing_name: &str, query: &Query) -> Result<ShadowId, ApiError> {
    ShadowId::new(thing_name, query.get("name")).map_err(invalid_name)
}

fn invalid_name(invalid_name: InvalidName) -> ApiError {
    invalid(&invalid_name.to_string())
}

fn invalid(message: &str) -> ApiError {
    ApiError::new(ErrorKind::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the query asks of a thing, if it is one.
    fn parse<T>(
        of: impl Fn(&str, &Query) -> Result<T, ApiError>,
        thing: &str,
        query: Option<&str>,
    ) -> Result<T, ApiError> {
        of(thing, &Query::parse(query)?)
    }

    fn refused<T>(result: Result<T, ApiError>) -> bool {
        result.is_err_and(|error| error.kind == ErrorKind::InvalidRequest)
    }

    /// Contract §2.
    #[test]
    fn a_shadow_is_named_by_path_and_query() {
        for (query, name) in [
            (None, None),
            (Some(""), None),
            (Some("x=1"), None),
            (Some("name=s"), Some("s")),
            (Some("name=%24a%3Ab_c-9"), Some("$a:b_c-9")),
        ] {
            let shadow = ShadowId::new("T:1", name).unwrap();
            let get = GetThingShadow { shadow: shadow.clone() };
            assert_eq!(parse(GetThingShadow::parse, "T:1", query), Ok(get));
            let update = UpdateThingShadow { shadow: shadow.clone() };
            assert_eq!(parse(UpdateThingShadow::parse, "T:1", query), Ok(update));
            let delete = DeleteThingShadow { shadow };
            assert_eq!(parse(DeleteThingShadow::parse, "T:1", query), Ok(delete));
        }
    }

    /// Contract §2, types and limits; an empty name never falls back to the classic shadow.
    #[test]
    fn other_names_are_refused() {
        let (thing, shadow) = ("t".repeat(129), "s".repeat(65));
        for thing in ["", "a b", "a/b", "$a", &thing] {
            assert!(refused(parse(GetThingShadow::parse, thing, None)), "{thing}");
            assert!(refused(parse(ListNamedShadowsForThing::parse, thing, None)), "{thing}");
        }
        for name in ["", "a%20b", "a%2Fb", "%C3%BC", "%", &shadow] {
            let query = format!("name={name}");
            assert!(refused(parse(UpdateThingShadow::parse, "T", Some(&query))), "{name}");
        }
    }

    #[test]
    fn requests_are_written_as_the_sdks_do() {
        for (name, query) in [(None, ""), (Some("$s:1"), "name=%24s%3A1")] {
            let shadow = ShadowId::new("T:1", name).unwrap();
            for (parts, method) in [
                (GetThingShadow { shadow: shadow.clone() }.encode(), "GET"),
                (UpdateThingShadow { shadow: shadow.clone() }.encode(), "POST"),
                (DeleteThingShadow { shadow: shadow.clone() }.encode(), "DELETE"),
            ] {
                let expected = HttpRequestParts {
                    method,
                    path: "/things/T%3A1/shadow".to_owned(),
                    query: query.to_owned(),
                    headers: Vec::new(),
                };
                assert_eq!(parts, expected);
            }
        }
    }

    #[test]
    fn a_list_asks_for_one_to_a_hundred_names() {
        let list = |query: &str| parse(ListNamedShadowsForThing::parse, "T:1", Some(query));
        for (query, page_size) in [("", 100), ("pageSize=1", 1), ("pageSize=100", 100)] {
            assert_eq!(list(query).unwrap().page_size, page_size);
        }
        for query in ["pageSize=0", "pageSize=101", "pageSize=", "pageSize=+1", "nextToken=x"] {
            assert!(refused(list(query)), "{query}");
        }
        let after = Some("s1".to_owned());
        let asked = ListNamedShadowsForThing { thing_name: "T:1".into(), page_size: 7, after };
        let parts = asked.encode();
        assert_eq!(parts.path, "/api/things/shadow/ListNamedShadowsForThing/T%3A1");
        assert_eq!(list(&parts.query), Ok(asked));
        assert_eq!(list("").unwrap().encode().query, "");
    }

    /// Contract §2: no token on the last page, and a thing without shadows has an empty one.
    #[test]
    fn names_come_in_pages() {
        let names = ["a", "b", "c", "d"];
        let mut list = parse(ListNamedShadowsForThing::parse, "T", Some("pageSize=2")).unwrap();
        let first = list.page(names.into_iter(), 7);
        assert_eq!(first.results, ["a", "b"]);
        let query = format!("pageSize=2&nextToken={}", first.next_token.unwrap());
        list = parse(ListNamedShadowsForThing::parse, "T", Some(&query)).unwrap();
        let last = list.page(names.into_iter(), 8);
        assert_eq!((last.results, last.next_token), (vec!["c".into(), "d".into()], None));
        // The name that the token names may be gone.
        assert_eq!(list.page(["a", "c"].into_iter(), 8).results, ["c"]);
        let json = serde_json::to_string(&list.page([].into_iter(), 9)).unwrap();
        assert_eq!(json, r#"{"results":[],"timestamp":9}"#);
        let page = list.page(["s", "t", "u"].into_iter(), 9);
        let json = serde_json::to_string(&page).unwrap();
        let token = page.next_token.as_deref().unwrap();
        assert_eq!(json, format!(r#"{{"results":["s","t"],"nextToken":"{token}","timestamp":9}}"#));
        assert_eq!(serde_json::from_str::<NamedShadowPage>(&json).unwrap(), page);
    }
}
