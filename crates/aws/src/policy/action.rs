//! What a principal asks to do, and which of it a statement speaks of.
//!
//! Names compare without case and may hold `*` and `?` (contract `policies.md` §1). What Bitts
//! decides often is a bit: a statement's patterns are matched against every known action when the
//! policy is compiled, so that a decision tests one bit.

use super::arn::Arn;

macro_rules! actions {
    ($($kind:ident = $name:literal $(| $other:literal)?;)*) => {
        /// An action that Bitts itself checks, without its details.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[expect(missing_docs, reason = "AWS's names")]
        pub enum ActionKind { $($kind,)* }

        impl ActionKind {
            const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its names in policies; the first is AWS's present one.
            const fn names(self) -> &'static [&'static str] {
                match self { $(Self::$kind => &[$name $(, $other)?],)* }
            }
        }
    };
}

actions! {
    Connect = "iot:Connect";
    Publish = "iot:Publish";
    RetainPublish = "iot:RetainPublish";
    Subscribe = "iot:Subscribe";
    Receive = "iot:Receive";
    GetRetainedMessage = "iot:GetRetainedMessage";
    ListRetainedMessages = "iot:ListRetainedMessages";
    DeleteConnection = "iot:DeleteConnection";
    GetConnection = "iot:GetConnection";
    ListSubscriptions = "iot:ListSubscriptions";
    SendDirectMessage = "iot:SendDirectMessage";
    GetThingShadow = "iot:GetThingShadow";
    UpdateThingShadow = "iot:UpdateThingShadow";
    DeleteThingShadow = "iot:DeleteThingShadow";
    ListNamedShadowsForThing = "iot:ListNamedShadowsForThing";
    AssumeRoleWithCertificate = "iot:AssumeRoleWithCertificate";
    DescribeJobExecution = "iotjobsdata:DescribeJobExecution" | "iot:DescribeJobExecution";
    GetPendingJobExecutions = "iotjobsdata:GetPendingJobExecutions" | "iot:GetPendingJobExecutions";
    StartNextPendingJobExecution =
        "iotjobsdata:StartNextPendingJobExecution" | "iot:StartNextPendingJobExecution";
    UpdateJobExecution = "iotjobsdata:UpdateJobExecution" | "iot:UpdateJobExecution";
}

const _: () = assert!(ActionKind::ALL.len() <= u32::BITS as usize);

impl ActionKind {
    /// The name in policies.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.names().first().copied().unwrap_or_default()
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// What a principal asks to do, with what conditions may ask about it (contract §4).
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Open a session: a CONNECT packet.
    Connect {
        /// Whether the session outlives the connection: Clean Session 0 in MQTT 3.1.1, a Session
        /// Expiry Interval above 0 in MQTT 5. `PersistentConnect` in `iot:ConnectAttributes`.
        persistent: bool,
        /// The Will's topic. `LastWill` in `iot:ConnectAttributes`, and `iot:LastWillTopic`.
        will_topic: Option<&'a Arn>,
    },
    /// Read a client's state.
    GetConnection {
        /// Whether with addresses and ports: `iot:IncludeSocketInformation`.
        include_socket_information: bool,
    },
    /// Send to one client.
    SendDirectMessage {
        /// Under which Topic Name: `iot:Topic`.
        topic: &'a str,
    },
    /// An action that has no details.
    Plain(ActionKind),
    /// Any other, by the name that policies use: `iot:CreateThing`.
    Named(&'a str),
}

impl<'a> Action<'a> {
    /// Which it is; `None` for [`Action::Named`].
    #[must_use]
    pub fn kind(&self) -> Option<ActionKind> {
        match self {
            Self::Connect { .. } => Some(ActionKind::Connect),
            Self::GetConnection { .. } => Some(ActionKind::GetConnection),
            Self::SendDirectMessage { .. } => Some(ActionKind::SendDirectMessage),
            Self::Plain(kind) => Some(*kind),
            Self::Named(_) => None,
        }
    }

    /// The name in policies.
    #[must_use]
    pub fn name(&self) -> &'a str {
        match (self, self.kind()) {
            (Self::Named(name), _) => name,
            (_, Some(kind)) => kind.name(),
            (_, None) => "",
        }
    }
}

/// The `Action` or `NotAction` of a statement.
#[derive(Debug)]
pub(super) struct Actions {
    negated: bool,
    /// The known actions that the statement speaks of, by bit; negation is applied.
    known: u32,
    patterns: Box<[Box<str>]>,
}

impl Actions {
    /// Of patterns that passed [`is_action_pattern`].
    pub(super) fn new(negated: bool, patterns: Vec<String>) -> Self {
        let patterns: Box<[Box<str>]> = patterns.into_iter().map(Into::into).collect();
        let named = |kind: &&ActionKind| {
            kind.names().iter().any(|name| patterns.iter().any(|it| glob(it, name)))
        };
        let bits = ActionKind::ALL.iter().filter(named).fold(0, |bits, kind| bits | kind.bit());
        Self { negated, known: if negated { !bits } else { bits }, patterns }
    }

    /// Whether the statement speaks of this action.
    ///
    /// Hot: once per statement.
    pub(super) fn contain(&self, action: &Action<'_>) -> bool {
        match (action.kind(), action) {
            (Some(kind), _) => self.known & kind.bit() != 0,
            (None, action) => {
                self.patterns.iter().any(|it| glob(it, action.name())) != self.negated
            }
        }
    }
}

/// Whether a text can stand in `Action`: `*`, or a service and a name joined by a colon.
pub(super) fn is_action_pattern(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"*?-_".contains(&byte);
        !part.is_empty() && part.bytes().all(is_byte)
    };
    text == "*" || text.split_once(':').is_some_and(|(a, b)| is_part(a) && is_part(b))
}

/// Whether `*` and `?` in a pattern make it this name, without case.
///
/// After a mismatch only the last `*` takes one byte more: time is at most the product of lengths.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut from) = (0, 0);
    let mut retry = None;
    while let Some(byte) = name.get(from) {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                retry = Some((at, from));
            }
            Some(wanted) if *wanted == b'?' || wanted.eq_ignore_ascii_case(byte) => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((star, taken)) = retry else { return false };
                retry = Some((star, taken + 1));
                (at, from) = (star, taken + 1);
            }
        }
    }
    pattern.iter().skip(at).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contain(patterns: &[&str], negated: bool, action: Action<'_>) -> bool {
        assert!(patterns.iter().all(|pattern| is_action_pattern(pattern)));
        let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Actions::new(negated, patterns).contain(&action)
    }

    /// Contract §1: wildcards, and names without case.
    #[test]
    fn an_action_is_named_by_wildcards_and_without_case() {
        let get = Action::Plain(ActionKind::GetThingShadow);
        for pattern in ["*", "iot:*", "iot:Get*", "IOT:getthingshadow", "iot:*Shadow", "iot:?et*"] {
            assert!(contain(&[pattern], false, get), "{pattern}");
            assert!(!contain(&[pattern], true, get), "{pattern}");
        }
        for pattern in ["iot:GetThing", "iot:Get*s", "iotjobsdata:*", "iot:?GetThingShadow"] {
            assert!(!contain(&[pattern], false, get), "{pattern}");
            assert!(contain(&[pattern], true, get), "{pattern}");
        }
    }

    /// Contract §2: jobs are accepted under both prefixes.
    #[test]
    fn jobs_are_named_by_both_prefixes() {
        let update = Action::Plain(ActionKind::UpdateJobExecution);
        for pattern in ["iot:UpdateJobExecution", "iotjobsdata:UpdateJobExecution", "iot*:Update*"]
        {
            assert!(contain(&[pattern], false, update), "{pattern}");
            assert!(!contain(&[pattern], true, update), "{pattern}");
        }
    }

    #[test]
    fn an_action_of_the_control_plane_is_matched_by_its_name() {
        let create = Action::Named("iot:CreateThing");
        assert!(contain(&["iot:Publish", "iot:Create*"], false, create));
        assert!(!contain(&["iot:Create*"], true, create));
        assert!(!contain(&["iot:CreateThingType"], false, create));
        assert!(contain(&["iot:Publish"], true, create));
    }

    #[test]
    fn what_names_no_action_is_refused() {
        for text in ["", "Publish", "iot:", ":Publish", "iot:Pub lish", "iot:a:b", "iot:${x}", "**"]
        {
            assert!(!is_action_pattern(text), "{text}");
        }
    }
}
