//! The bodies of accepted answers, and of what the service publishes beside them.

use super::json::write_text;

/// A JSON object that is being written, member by member.
pub(super) struct Body(Vec<u8>);

impl Body {
    /// An object without members.
    pub(super) fn new() -> Self {
        Self(vec![b'{'])
    }

    /// Adds a member whose value `write` writes.
    pub(super) fn member(mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        write_text(name, &mut self.0);
        self.0.push(b':');
        write(&mut self.0);
        self
    }

    /// Adds a number.
    pub(super) fn number(self, name: &str, value: u64) -> Self {
        self.member(name, |out| out.extend_from_slice(value.to_string().as_bytes()))
    }

    /// Adds the request's client token, if it has one, and ends the object.
    pub(super) fn answer(self, client_token: Option<&str>) -> Vec<u8> {
        match client_token {
            Some(token) => self.member("clientToken", |out| write_text(token, out)).end(),
            None => self.end(),
        }
    }

    /// Ends the object.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}
