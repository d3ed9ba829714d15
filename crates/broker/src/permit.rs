//! The one decision point: whether a client may do what it asks, or get what it is sent.
//!
//! Without a [`Registry`] everything is allowed (`--auth open`). With one nothing is, unless the
//! policies of the identity that the client proved say so; a session whose client is not known is
//! allowed nothing. Decisions are remembered for each session until the registry changes. Contract
//! `policies.md` §2 and §5, `mqtt-broker.md` §4 and §10.

use core::mem::discriminant;
use core::net::IpAddr;
use std::sync::Arc;

use bitts_aws::policy::{
    Action, ActionKind, Arn, Context, MqttConnection, Origin as PolicyOrigin, Request, ResourceKind,
};
use bitts_aws::registry::{Authorized, Grant, Identity, Refused, Registry};
use bitts_mqtt::{Connect, ReasonCode};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::input::{ConnId, Origin, Proof};
use crate::needs::{Need, NeededAction, Needs};
use crate::outbox::Outbox;
use crate::reason::{Cause, Dropped};
use crate::record::{SavedIdentity, SavedPrincipal};
use crate::session::Transit;
use crate::shard::Shard;
use crate::slot::NameKey;
use crate::time::{Moment, Now};

/// Decisions that a session remembers; at the limit it forgets them all.
const REMEMBERED_MAX: usize = 512;
/// How long a WebSocket connection with a signature lives: a day, as on AWS.
const SIGNED_SECONDS: u64 = 24 * 3600;

/// Policies do not let the client do it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotAllowed;

/// Who decides.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) registry: Arc<Registry>,
    /// Kept between decisions for its capacity.
    arn: Arn,
    pub(crate) needs: Needs,
}

impl Authority {
    pub(crate) fn new(registry: Arc<Registry>, seed: u64) -> Self {
        let arn = registry.scope().arn(ResourceKind::Topic, "");
        Self { registry, arn, needs: Needs::new(seed) }
    }

    pub(crate) fn may_register(&self, certificate: &[u8; 32]) -> bool {
        let identity = Identity::Certificate(*certificate);
        self.registry.standing(&identity, None) == Err(Refused::Unknown)
            && self.registry.registering_authority(|_| true).is_some()
    }
}

/// Where a client comes from, and the key of its name.
#[derive(Clone, Copy, Debug)]
struct Place {
    client: NameKey,
    source: IpAddr,
    local_port: u16,
    is_secure: bool,
}

/// Who a session's client is, and what was decided for it.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) identity: Identity,
    /// What it may do; nothing since it is not good any more.
    grant: Option<Grant>,
    connection: MqttConnection,
    origin: PolicyOrigin,
    place: Place,
    /// What let it connect says under which names, and not just anybody under any.
    names_client: bool,
    /// The registry's, that the grant is of.
    generation: u64,
    /// Whether a policy asks for the time, and the second that what is remembered is of.
    is_timed: bool,
    second: u64,
    remembered: HashMap<(u8, NameKey), bool, FixedState>,
    /// When the connection ends by itself, and why.
    pub(crate) ends: Option<(Moment, Cause)>,
    /// When a custom authorizer is to be asked again; none while it is.
    pub(crate) refresh: Option<Moment>,
}

impl Access {
    /// Nothing is allowed before [`Access::take`].
    fn new(identity: Identity, client_id: &str, place: Place, registry: &Registry) -> Self {
        Self {
            identity,
            grant: None,
            connection: MqttConnection { client_id: client_id.to_owned(), thing: None },
            origin: PolicyOrigin::new(place.source, place.local_port, place.is_secure),
            place,
            names_client: true,
            generation: registry.generation(),
            is_timed: false,
            second: 0,
            remembered: HashMap::default(),
            ends: None,
            refresh: None,
        }
    }

    /// What of it is kept.
    pub(crate) fn saved(&self) -> SavedPrincipal {
        let identity = match &self.identity {
            Identity::Anonymous => SavedIdentity::Anonymous,
            Identity::Certificate(id) => SavedIdentity::Certificate(*id),
            Identity::AccessKey(id) => SavedIdentity::AccessKey(Arc::clone(id)),
            Identity::User(name) => SavedIdentity::User(Arc::clone(name)),
            Identity::Authorizer(said) => SavedIdentity::Authorizer {
                principal_id: said.principal_id().into(),
                documents: said.documents().to_vec(),
            },
        };
        let Place { source, local_port, is_secure, .. } = self.place;
        SavedPrincipal { identity, source, local_port, is_secure, names_client: self.names_client }
    }

    /// `principalIdentifier` of lifecycle events.
    pub(crate) fn principal_identifier(&self) -> Option<&str> {
        self.grant.as_ref().map(|grant| grant.principal_identifier.as_str())
    }

    /// Whether a custom authorizer says that somebody is who this is.
    fn is_of(&self, identity: &Identity) -> bool {
        match (&self.identity, identity) {
            (Identity::Authorizer(was), Identity::Authorizer(is)) => {
                was.principal_id() == is.principal_id()
            }
            _ => false,
        }
    }

    /// Whether a session that another client left is this one's too: a client id belongs to whom
    /// policies let have it; where they let anybody, a session belongs to who made it, and one of
    /// whom that is not known to nobody.
    pub(crate) fn owns(&self, session: Option<&Self>) -> bool {
        // A user and an authorizer's principal of one name are two.
        let who = |access: &Self| discriminant(&access.identity);
        let is_same = |it: &Self| {
            who(it) == who(self) && it.principal_identifier() == self.principal_identifier()
        };
        self.names_client || session.is_some_and(is_same)
    }

    /// The thing that the client speaks for alone.
    pub(crate) fn exclusive_thing(&self) -> Option<&str> {
        let grant = self.grant.as_ref().filter(|grant| grant.exclusive_thing)?;
        grant.thing.as_ref().map(|thing| thing.name.as_str())
    }

    /// The thing that the client speaks for.
    pub(crate) fn thing(&self) -> Option<&str> {
        self.connection.thing.as_ref().map(|thing| thing.name.as_str())
    }

    /// Collects what the identity may do, if the registry is another.
    fn refresh(&mut self, registry: &Registry, now: Now) {
        let second = now.unix_ms / 1_000;
        if self.generation != registry.generation() {
            self.generation = registry.generation();
            let client_id = Some(self.connection.client_id.as_str());
            self.take(registry.grant(&self.identity, client_id, None).ok());
        }
        if self.is_timed && self.second != second {
            self.remembered.clear();
        }
        self.second = second;
    }

    fn take(&mut self, grant: Option<Grant>) {
        self.connection.thing = grant.as_ref().and_then(|grant| grant.thing.clone());
        self.is_timed = grant.as_ref().is_some_and(|grant| grant.rights.ask_for_time());
        self.grant = grant;
        self.remembered.clear();
    }

    fn decide(&self, action: Action<'_>, arn: &Arn, now: Now) -> bool {
        let Some(grant) = &self.grant else { return false };
        let context = Context {
            principal: &grant.principal,
            connection: Some(&self.connection),
            origin: Some(&self.origin),
            unix_seconds: Some(now.unix_ms / 1_000),
        };
        let request = Request { action, resource: Some(arn), context };
        grant.rights.authority().decide(&request).is_allowed()
    }

    /// The same from memory, where it was decided before.
    fn decide_plain(
        &mut self,
        authority: &mut Authority,
        (kind, resource, name, key): (ActionKind, ResourceKind, &str, NameKey),
        now: Now,
    ) -> bool {
        self.refresh(&authority.registry, now);
        if let Some(known) = self.remembered.get(&(kind as u8, key)) {
            return *known;
        }
        authority.registry.scope().rewrite(&mut authority.arn, resource, name);
        let allowed = self.decide(Action::Plain(kind), &authority.arn, now);
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        self.remembered.insert((kind as u8, key), allowed);
        let kept = (self.place.client, kind as u8, key);
        let action = NeededAction::Plain(kind, resource);
        authority.needs.keep(kept, || self.need(action, name, allowed, now));
        allowed
    }

    fn need(&self, action: NeededAction, name: &str, is_allowed: bool, now: Now) -> Need {
        Need {
            identity: self.identity.clone(),
            client_id: self.connection.client_id.as_str().into(),
            source: self.place.source,
            local_port: self.place.local_port,
            is_secure: self.place.is_secure,
            action,
            name: name.into(),
            is_allowed,
            asked_unix_ms: now.unix_ms,
        }
    }
}

impl Shard {
    /// Whether the client of a session may do this. Hot: once per PUBLISH and per delivery.
    fn may(
        &mut self,
        now: Now,
        index: u32,
        what: (ActionKind, ResourceKind, &str, NameKey),
    ) -> bool {
        let Some(authority) = &mut self.authority else { return true };
        let session = self.sessions.get_mut(index as usize);
        let access = session.and_then(|session| session.access.as_deref_mut());
        access.is_some_and(|access| access.decide_plain(authority, what, now))
    }

    /// Whether the client may publish to a topic, and have it retained; then the topic's key, which
    /// deliveries need again.
    pub(crate) fn may_publish(
        &mut self,
        now: Now,
        index: u32,
        topic: &str,
        retain: bool,
    ) -> Result<Option<NameKey>, NotAllowed> {
        if self.authority.is_none() {
            return Ok(None);
        }
        let key = self.placement.key_of(topic);
        let mut may = |kind| self.may(now, index, (kind, ResourceKind::Topic, topic, key));
        if may(ActionKind::Publish) && (!retain || may(ActionKind::RetainPublish)) {
            Ok(Some(key))
        } else {
            Err(NotAllowed)
        }
    }

    /// Whether the client may subscribe; `filter` with its `$share` prefix.
    pub(crate) fn may_subscribe(&mut self, now: Now, index: u32, filter: &str) -> bool {
        if self.authority.is_none() {
            return true;
        }
        let key = self.placement.key_of(filter);
        self.may(now, index, (ActionKind::Subscribe, ResourceKind::TopicFilter, filter, key))
    }

    /// Whether the client may get a message; asked again when it is sent from the queue.
    pub(crate) fn may_receive(&mut self, now: Now, index: u32, transit: &mut Transit<'_>) -> bool {
        if self.authority.is_none() {
            return true;
        }
        let placement = self.placement;
        let topic = transit.topic;
        let key = *transit.topic_key.get_or_insert_with(|| placement.key_of(topic));
        let may = self.may(now, index, (ActionKind::Receive, ResourceKind::Topic, topic, key));
        if !may {
            self.stats.drop_one(Dropped::NotAuthorized);
        }
        may
    }

    /// Who a client is and what it may do, if it may connect at all: first who it is, then
    /// `iot:Connect`, then its Will (§4).
    pub(crate) fn admit(
        &mut self,
        now: Now,
        connect: &Connect<'_>,
        client_id: &str,
        (origin, proof, persistent): (&Origin, Proof, bool),
        out: &mut Outbox,
    ) -> Result<Option<Box<Access>>, ReasonCode> {
        let Some(authority) = &mut self.authority else { return Ok(None) };
        let identity = match proof {
            Proof::Identity(identity) => identity,
            Proof::None => Identity::Anonymous,
            Proof::Failed => return Err(ReasonCode::BadUserNameOrPassword),
        };
        let registry = Arc::clone(&authority.registry);
        let grant = registry.grant(&identity, Some(client_id), Some(now.unix_ms));
        let grant = grant.map_err(|_| ReasonCode::NotAuthorized)?;
        let place = Place {
            client: self.placement.key_of(client_id),
            source: origin.source.ip(),
            local_port: origin.target.port(),
            is_secure: origin.is_secure,
        };
        let ends = ends(&identity, now, origin.is_websocket);
        let refresh = refresh(&identity, now);
        let mut access =
            Access { ends, refresh, ..Access::new(identity, client_id, place, &registry) };
        access.take(Some(grant));
        let scope = registry.scope();
        let will_topic =
            connect.will.as_ref().map(|will| scope.arn(ResourceKind::Topic, will.topic));
        let action = Action::Connect { persistent, will_topic: will_topic.as_ref() };
        let client = scope.arn(ResourceKind::Client, client_id);
        let nobody = scope.arn(ResourceKind::Client, &format!("\u{7F}{:032x}", origin.entropy));
        access.names_client = !access.decide(action, &nobody, now);
        let is_allowed = access.decide(action, &client, now)
            && connect.will.as_ref().zip(will_topic.as_ref()).is_none_or(|(will, topic)| {
                access.decide(Action::Plain(ActionKind::Publish), topic, now)
                    && (!will.retain
                        || access.decide(Action::Plain(ActionKind::RetainPublish), topic, now))
            });
        let action = NeededAction::Connect {
            persistent,
            will_topic: connect.will.as_ref().map(|will| will.topic.into()),
        };
        let kept = (place.client, ActionKind::Connect as u8, place.client);
        authority.needs.keep(kept, || access.need(action, client_id, is_allowed, now));
        if is_allowed {
            return Ok(Some(Box::new(access)));
        }
        let principal = access.principal_identifier().unwrap_or_default();
        self.announce_connect_failed(now, client_id, principal, origin, out);
        Err(ReasonCode::NotAuthorized)
    }

    /// Who the client was that a process before this one had, with what it may do as policies are.
    pub(crate) fn restored_access(&self, client_id: &str, saved: SavedPrincipal) -> Option<Access> {
        let registry = &self.authority.as_ref()?.registry;
        let identity = match saved.identity {
            SavedIdentity::Anonymous => Identity::Anonymous,
            SavedIdentity::Certificate(id) => Identity::Certificate(id),
            SavedIdentity::AccessKey(id) => Identity::AccessKey(id),
            SavedIdentity::User(name) => Identity::User(name),
            SavedIdentity::Authorizer { principal_id, documents } => {
                let limits = &registry.limits().policy;
                let said = Authorized::new(principal_id.into(), documents, limits).ok()?;
                Identity::Authorizer(Arc::new(said))
            }
        };
        let place = Place {
            client: self.placement.key_of(client_id),
            source: saved.source,
            local_port: saved.local_port,
            is_secure: saved.is_secure,
        };
        let grant = registry.grant(&identity, Some(client_id), None).ok();
        let mut access = Access::new(identity, client_id, place, registry);
        access.names_client = saved.names_client;
        access.take(grant);
        Some(access)
    }

    /// A custom authorizer was asked again: its documents decide. Where it does not say that the
    /// client is who it was, or cannot be asked, the connection ends. How long it lasts was said
    /// when it began.
    pub(crate) fn on_refreshed(&mut self, now: Now, conn: ConnId, proof: Proof, out: &mut Outbox) {
        let Some(index) = self.session_of(conn) else { return };
        let Some(authority) = &self.authority else { return };
        let session = self.sessions.get_mut(index as usize);
        let Some(access) = session.and_then(|session| session.access.as_deref_mut()) else {
            return;
        };
        let identity = match proof {
            Proof::Identity(identity) if access.is_of(&identity) => identity,
            Proof::Identity(_) | Proof::None | Proof::Failed => {
                self.end_connection(now, index, Cause::ForbiddenAccess, out);
                return;
            }
        };
        access.refresh = refresh(&identity, now);
        let client_id = Some(access.connection.client_id.as_str());
        let grant = authority.registry.grant(&identity, client_id, None).ok();
        access.identity = identity;
        access.take(grant);
        self.record_principal(index);
        self.remind_of_next(index);
    }

    /// Another registry: whoever is not good any more is put off at once, everything else is
    /// decided by it from now on, in live sessions too.
    pub(crate) fn take_registry(&mut self, now: Now, registry: Arc<Registry>, out: &mut Outbox) {
        let Some(authority) = &mut self.authority else { return };
        let refused: Vec<u32> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.connection.is_some())
            .filter(|(_, session)| {
                let access = session.access.as_ref();
                access.is_none_or(|it| registry.standing(&it.identity, None).is_err())
            })
            .map(|(index, _)| index as u32)
            .collect();
        authority.registry = registry;
        for index in refused {
            self.end_connection(now, index, Cause::ForbiddenAccess, out);
        }
    }
}

/// When a custom authorizer is to be asked again.
fn refresh(identity: &Identity, now: Now) -> Option<Moment> {
    let Identity::Authorizer(said) = identity else { return None };
    said.refresh_at_unix_ms.map(|at| now.moment.plus_millis(at.saturating_sub(now.unix_ms)))
}

/// When a connection ends by itself.
fn ends(identity: &Identity, now: Now, is_websocket: bool) -> Option<(Moment, Cause)> {
    match identity {
        Identity::AccessKey(_) if is_websocket => {
            Some((now.moment.plus_seconds(SIGNED_SECONDS), Cause::WebSocketTtlExpiration))
        }
        Identity::Authorizer(said) => said.disconnect_at_unix_ms.map(|at| {
            let left = at.saturating_sub(now.unix_ms);
            (now.moment.plus_millis(left), Cause::CustomAuthTtlExpiration)
        }),
        Identity::AccessKey(_)
        | Identity::Certificate(_)
        | Identity::User(_)
        | Identity::Anonymous => None,
    }
}
