//! What a caller of the data plane has to be allowed, before anything of its request is looked at
//! that could tell whether something exists. Contract `policies.md` §2.

use super::query::Query;
use super::route::{Operation, Route};
use crate::policy::{Action, ActionKind, ArnScope, Request as Asked, ResourceKind};
use crate::policy::{Arn, Context, Decision};

/// What a request asks to be allowed.
#[derive(Clone, Debug)]
pub struct Permission {
    operation: Operation,
    resource: Option<Arn>,
    /// RETAIN needs a permission of its own.
    retain: bool,
    include_socket_information: bool,
    topic: String,
}

impl Permission {
    /// Reads it from a request that nobody has validated; what cannot be read is refused later.
    #[must_use]
    pub fn of(route: &Route, query: Option<&str>, scope: &ArnScope) -> Self {
        let query = Query::parse(query).unwrap_or_default();
        let (kind, name) = match route.operation {
            Operation::DeleteConnection
            | Operation::GetConnection
            | Operation::ListSubscriptions
            | Operation::SendDirectMessage => (Some(ResourceKind::Client), route.name.clone()),
            Operation::Publish | Operation::GetRetainedMessage => {
                (Some(ResourceKind::Topic), route.name.clone())
            }
            Operation::ListRetainedMessages => (None, String::new()),
            Operation::GetThingShadow
            | Operation::UpdateThingShadow
            | Operation::DeleteThingShadow => {
                let shadow = query.get("name").filter(|name| !name.is_empty());
                let name = shadow.map_or_else(
                    || route.name.clone(),
                    |shadow| format!("{}/{shadow}", route.name),
                );
                (Some(ResourceKind::Thing), name)
            }
            Operation::ListNamedShadowsForThing => (Some(ResourceKind::Thing), route.name.clone()),
        };
        Self {
            operation: route.operation,
            resource: kind.map(|kind| scope.arn(kind, &name)),
            retain: query.flag("retain").unwrap_or(true),
            include_socket_information: query.flag("includeSocketInformation").unwrap_or(true),
            topic: query.get("topic").unwrap_or_default().to_owned(),
        }
    }

    /// Whether everything it asks is allowed; the first decision that is not, else the first.
    pub fn decide<'a>(
        &self,
        context: Context<'_>,
        decide: impl Fn(&Asked<'_>) -> Decision<'a>,
    ) -> Decision<'a> {
        let resource = self.resource.as_ref();
        let first = decide(&Asked { action: self.action(), resource, context });
        if !first.is_allowed() || self.operation != Operation::Publish || !self.retain {
            return first;
        }
        let action = Action::Plain(ActionKind::RetainPublish);
        let second = decide(&Asked { action, resource, context });
        if second.is_allowed() { first } else { second }
    }

    /// The action, as policies name it.
    #[must_use]
    pub fn action(&self) -> Action<'_> {
        let kind = match self.operation {
            Operation::GetConnection => {
                return Action::GetConnection {
                    include_socket_information: self.include_socket_information,
                };
            }
            Operation::SendDirectMessage => {
                return Action::SendDirectMessage { topic: &self.topic };
            }
            Operation::DeleteConnection => ActionKind::DeleteConnection,
            Operation::ListSubscriptions => ActionKind::ListSubscriptions,
            Operation::Publish => ActionKind::Publish,
            Operation::GetRetainedMessage => ActionKind::GetRetainedMessage,
            Operation::ListRetainedMessages => ActionKind::ListRetainedMessages,
            Operation::GetThingShadow => ActionKind::GetThingShadow,
            Operation::UpdateThingShadow => ActionKind::UpdateThingShadow,
            Operation::DeleteThingShadow => ActionKind::DeleteThingShadow,
            Operation::ListNamedShadowsForThing => ActionKind::ListNamedShadowsForThing,
        };
        Action::Plain(kind)
    }
}
