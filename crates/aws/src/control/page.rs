//! Pages of the control plane's lists, in the order of names.
//!
//! Two dialects: `nextToken` and `maxResults`, `marker`, `pageSize` and `nextMarker`. The token
//! names the last item sent, so it means the same after every restart.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::ControlError;
use super::input::Input;

/// Items of a page at most, and where nothing is said.
const PAGE_ITEMS_MAX: u64 = 250;

/// A page asked for.
#[derive(Debug)]
pub(super) struct Page {
    /// The name it begins behind; empty for the first page.
    pub(super) after: String,
    max: usize,
    next: &'static str,
}

impl Page {
    /// By `nextToken` and `maxResults`.
    pub(super) fn by_token(input: &Input) -> Result<Self, ControlError> {
        Self::new(input, "nextToken", "maxResults", "nextToken")
    }

    /// By `marker` and `pageSize`.
    pub(super) fn by_marker(input: &Input) -> Result<Self, ControlError> {
        Self::new(input, "marker", "pageSize", "nextMarker")
    }

    fn new(
        input: &Input,
        token: &str,
        max: &str,
        next: &'static str,
    ) -> Result<Self, ControlError> {
        let count = input.integer(max)?.unwrap_or(PAGE_ITEMS_MAX);
        if !(1..=PAGE_ITEMS_MAX).contains(&count) {
            let message = format!("{max} is a whole number from 1 to {PAGE_ITEMS_MAX}");
            return Err(ControlError::invalid(message));
        }
        let after = match input.text(token)? {
            None => String::new(),
            Some(text) => BASE64URL_NOPAD
                .decode(text.as_bytes())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| ControlError::invalid(format!("{token} is not valid")))?,
        };
        Ok(Self { after, max: usize::try_from(count).unwrap_or(1), next })
    }

    /// The answer: the first of `items` behind the page's beginning, ascending by their names.
    pub(super) fn answer<'a>(
        &self,
        list: &str,
        items: impl Iterator<Item = (&'a str, Value)>,
    ) -> Value {
        let mut items = items.skip_while(|(name, _)| *name <= self.after.as_str());
        let mut last = "";
        let page: Vec<Value> =
            items.by_ref().take(self.max).inspect(|(name, _)| last = name).map(|it| it.1).collect();
        let mut answer = Map::new();
        if items.next().is_some() {
            let token = BASE64URL_NOPAD.encode(last.as_bytes());
            answer.insert(self.next.to_owned(), token.into());
        }
        answer.insert(list.to_owned(), page.into());
        answer.into()
    }
}
