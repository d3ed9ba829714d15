//! Which clients an operation on many is about, and a scan over all sessions in steps.

use core::net::IpAddr;
use std::sync::Arc;

use crate::session::{Session, uuid_text};
use crate::shard::Shard;

/// Sessions that one step looks at, so that other work is not kept waiting.
const STEP: usize = 2_048;

/// Which clients: those that everything given holds for.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// A Client Identifier, with `*` for any characters and `?` for one.
    pub client_id_pattern: Option<String>,
    /// Connected, or not.
    pub connected: Option<bool>,
    /// MQTT 5, or 3.1.1.
    pub mqtt5: Option<bool>,
    /// Of a network: an address, and how many of its bits count.
    pub network: Option<(IpAddr, u8)>,
    /// The thing that it speaks for.
    pub thing_name: Option<String>,
    /// `principalIdentifier` of its lifecycle events.
    pub principal: Option<String>,
}

/// A client that was selected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Selected {
    /// Client Identifier.
    pub client_id: Arc<str>,
    /// `sessionIdentifier` of its latest connection.
    pub session_identifier: String,
}

impl Selector {
    fn takes(&self, session: &Session) -> bool {
        let connection = session.connection.as_ref();
        let source = connection.map(|held| held.source.ip().to_canonical());
        let is_in =
            |(network, bits): (IpAddr, u8)| source.is_some_and(|it| same(it, network, bits));
        self.client_id_pattern.as_ref().is_none_or(|it| is_match(it, &session.client_id))
            && self.connected.is_none_or(|it| connection.is_some() == it)
            && self.mqtt5.is_none_or(|it| session.is_mqtt5() == it)
            && self.network.is_none_or(is_in)
            && self.thing_name.as_deref().is_none_or(|it| session.thing() == Some(it))
            && self.principal.as_deref().is_none_or(|it| session.principal() == it)
    }
}

/// Whether the first bits of two addresses are the same.
fn same(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network.to_canonical()) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let shift = 32 - u32::from(bits.min(32));
            let head = |it: u32| it.checked_shr(shift).unwrap_or(0);
            head(address.to_bits()) == head(network.to_bits())
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let shift = 128 - u32::from(bits.min(128));
            let head = |it: u128| it.checked_shr(shift).unwrap_or(0);
            head(address.to_bits()) == head(network.to_bits())
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Whether a text is what a pattern with `*` and `?` stands for. Linear but for the last `*`.
fn is_match(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || Some(wanted) == text.get(from) => {
                at += 1;
                from += 1;
            }
            Some(_) | None => {
                let Some((star_at, star_from)) = star else { return false };
                star = Some((star_at, star_from + 1));
                at = star_at + 1;
                from = star_from + 1;
            }
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == '*')
}

impl Shard {
    /// One step over the sessions: those that are selected, and where to go on.
    pub(crate) fn select(
        &self,
        selector: &Selector,
        from: usize,
    ) -> (Vec<Selected>, Option<usize>) {
        let end = (from + STEP).min(self.sessions.capacity());
        let found = (from..end)
            .filter_map(|index| self.sessions.get(index))
            .filter(|session| selector.takes(session))
            .map(|session| Selected {
                client_id: Arc::clone(&session.client_id),
                session_identifier: uuid_text(session.identifier),
            });
        (found.collect(), (end < self.sessions.capacity()).then_some(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything_and_question_marks_for_one() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("*", "a/b", true),
            ("a*", "a", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("*a*b*", "xxaxxb", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("ü?", "üü", true),
            ("", "", true),
            ("", "a", false),
            ("a", "ab", false),
        ] {
            assert_eq!(is_match(pattern, text), is, "{pattern} {text}");
        }
    }

    #[test]
    fn a_network_is_its_first_bits() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(same(address("192.0.2.7"), address("192.0.2.0"), 24));
        assert!(!same(address("192.0.3.7"), address("192.0.2.0"), 24));
        assert!(same(address("192.0.3.7"), address("0.0.0.0"), 0));
        assert!(same(address("2001:db8::1"), address("2001:db8::"), 32));
        assert!(!same(address("2001:db9::1"), address("2001:db8::"), 32));
        assert!(!same(address("192.0.2.7"), address("::"), 0));
    }
}
