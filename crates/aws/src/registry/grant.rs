//! What somebody may do, once it is known who they are.
//!
//! Contract `policies.md` §5: a certificate has its own policies and those of the groups, with all
//! groups above them, of the thing it speaks for; an access key has its own alone; a custom
//! authorizer's client what the authorizer said. The thing is the one that the principal is bound
//! to exclusively, else the one that it is bound to and whose name is the Client Identifier.

use std::sync::Arc;

use data_encoding::HEXLOWER;

use super::record::Thing as ThingRecord;
use super::{Authorized, Registry, named};
use crate::policy::{Authority, Policy, Principal, Thing};

/// The target that holds the policies of clients without any credential.
pub const ANONYMOUS: &str = "anonymous";

/// How somebody proved who they are.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub enum Identity {
    /// By the key of a certificate: the SHA-256 of its DER.
    Certificate([u8; 32]),
    /// By a signature with an access key, by its id.
    AccessKey(Arc<str>),
    /// By a user's password.
    User(Arc<str>),
    /// By what a custom authorizer took.
    Authorizer(Arc<Authorized>),
    /// Not at all.
    Anonymous,
}

/// What an identity may do: its principal, its policies, its thing.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who it is to policies.
    pub principal: Principal,
    /// What decides.
    pub rights: Rights,
    /// The thing that it speaks for.
    pub thing: Option<Thing>,
    /// Whether it speaks for that thing alone, under any Client Identifier: lifecycle events then
    /// name the thing.
    pub exclusive_thing: bool,
    /// `principalIdentifier` of lifecycle events.
    pub principal_identifier: String,
}

/// What decides what somebody may do.
#[derive(Clone, Debug)]
pub enum Rights {
    /// Nothing: everything is allowed.
    Unrestricted,
    /// These policies; none allow nothing.
    Policies(Vec<Arc<Policy>>),
}

impl Rights {
    /// As the decision asks for it.
    #[must_use]
    pub fn authority(&self) -> Authority<'_, Arc<Policy>> {
        match self {
            Self::Unrestricted => Authority::Unrestricted,
            Self::Policies(policies) => Authority::Policies(policies),
        }
    }
}

/// What binds a device.
pub(crate) struct Bound {
    pub(crate) policies: Vec<Arc<Policy>>,
    pub(crate) thing: Option<Thing>,
    pub(crate) is_exclusive: bool,
}

/// Why somebody may do nothing at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// Nobody is known by that name; or nothing is granted without a credential.
    Unknown,
    /// Made inactive.
    Inactive,
    /// Revoked.
    Revoked,
    /// A certificate that may only be provisioned.
    PendingActivation,
    /// Outside of its time.
    Expired,
}

impl Registry {
    /// What an identity may do; `client_id` is absent outside of MQTT, `unix_ms` for a connection
    /// that began in time.
    ///
    /// Once per connection or request, and again for a connection when
    /// [`Registry::generation`] rose.
    pub fn grant(
        &self,
        identity: &Identity,
        client_id: Option<&str>,
        unix_ms: Option<u64>,
    ) -> Result<Grant, Refused> {
        self.standing(identity, unix_ms)?;
        match identity {
            Identity::Certificate(id) => self.grant_certificate(id, client_id),
            Identity::AccessKey(id) => self.grant_access_key(id),
            Identity::User(name) => self.grant_user(name, client_id),
            Identity::Authorizer(said) => Ok(grant_authorized(said)),
            Identity::Anonymous => self.grant_anonymous(),
        }
    }

    fn grant_certificate(&self, id: &[u8; 32], client_id: Option<&str>) -> Result<Grant, Refused> {
        let id = HEXLOWER.encode(id);
        let certificate = self.certificate(&id).ok_or(Refused::Unknown)?;
        let facts = &certificate.facts;
        let principal = Principal::Certificate(Box::new(facts.for_policies(&id)));
        Ok(self.grant_device(&format!("cert/{id}"), principal, id, client_id))
    }

    fn grant_user(&self, name: &str, client_id: Option<&str>) -> Result<Grant, Refused> {
        self.user(name).ok_or(Refused::Unknown)?;
        let principal = Principal::User(name.into());
        Ok(self.grant_device(&format!("user/{name}"), principal, name.to_owned(), client_id))
    }

    /// A device's policies and those of its thing's groups.
    fn grant_device(
        &self,
        target: &str,
        principal: Principal,
        principal_identifier: String,
        client_id: Option<&str>,
    ) -> Grant {
        let Bound { policies, thing, is_exclusive: exclusive_thing } =
            self.bound(target, client_id);
        let rights = Rights::Policies(policies);
        Grant { principal, rights, thing, exclusive_thing, principal_identifier }
    }

    /// What binds a device: its own policies, its thing, and the policies of the thing's groups.
    pub(crate) fn bound(&self, target: &str, client_id: Option<&str>) -> Bound {
        let mut policies = Vec::new();
        self.collect(target, &mut policies);
        let Some((name, record, is_exclusive)) = self.thing_of(target, client_id) else {
            return Bound { policies, thing: None, is_exclusive: false };
        };
        self.collect_of_thing(name, &mut policies);
        let thing = Thing {
            name: name.to_owned(),
            type_name: record.type_name.clone(),
            attributes: record.attributes.clone(),
        };
        Bound { policies, thing: Some(thing), is_exclusive }
    }

    /// Adds the policies of the groups that a thing is in.
    pub(crate) fn collect_of_thing(&self, thing: &str, into: &mut Vec<Arc<Policy>>) {
        for group in self.groups_of(thing) {
            self.collect(&format!("thinggroup/{group}"), into);
        }
    }

    /// The thing that a principal speaks for, and whether for it alone.
    fn thing_of(
        &self,
        principal: &str,
        client_id: Option<&str>,
    ) -> Option<(&str, &ThingRecord, bool)> {
        let exclusive = self.principals.with(principal).find(|(_, it)| it.is_exclusive);
        if let Some((name, _)) = exclusive {
            return named(&self.things, name).map(|record| (name, record, true));
        }
        let client_id = client_id?;
        self.principals.find(client_id, principal)?;
        let (name, record) = self.things.from(|known| (**known).cmp(client_id)).next()?;
        (**name == *client_id).then_some((&**name, &**record, false))
    }

    /// The groups that a thing is in, each before the groups above it, each once.
    pub(crate) fn groups_of(&self, thing: &str) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for (group, _) in self.members.with(thing) {
            self.climb(Some(group), &mut found);
        }
        found
    }

    /// The groups above a group, the nearest first.
    pub(crate) fn groups_above(&self, group: &str) -> Vec<&str> {
        let mut found = Vec::new();
        let group = named(&self.thing_groups, group);
        self.climb(group.and_then(|group| group.parent.as_deref()), &mut found);
        found
    }

    /// Adds a group and those above it, up to one that is there already.
    fn climb<'a>(&'a self, from: Option<&'a str>, into: &mut Vec<&'a str>) {
        let mut next = from;
        while let Some(group) = next
            && !into.contains(&group)
        {
            into.push(group);
            next = named(&self.thing_groups, group).and_then(|it| it.parent.as_deref());
        }
    }

    /// Adds the policies on a target that are not there yet.
    pub(crate) fn collect(&self, target: &str, into: &mut Vec<Arc<Policy>>) {
        for policy in self.attachments.of(target).filter_map(|(name, _)| self.policy(name)) {
            if !into.iter().any(|known| Arc::ptr_eq(known, policy)) {
                into.push(Arc::clone(policy));
            }
        }
    }

    fn grant_access_key(&self, id: &str) -> Result<Grant, Refused> {
        let key = self.access_key(id).ok_or(Refused::Unknown)?;
        let mut policies = Vec::new();
        self.collect(&format!("accesskey/{id}"), &mut policies);
        let is_free = !key.is_bound && !self.settings.binds_keys_without_policies;
        let rights = if key.is_admin || (policies.is_empty() && is_free) {
            Rights::Unrestricted
        } else {
            Rights::Policies(policies)
        };
        let user_name = key.user_name.as_deref();
        Ok(Grant {
            principal: user_name.map_or(Principal::Unnamed, |name| Principal::User(name.into())),
            rights,
            thing: None,
            exclusive_thing: false,
            principal_identifier: user_name.unwrap_or(id).to_owned(),
        })
    }

    fn grant_anonymous(&self) -> Result<Grant, Refused> {
        let mut policies = Vec::new();
        self.collect(ANONYMOUS, &mut policies);
        if policies.is_empty() {
            return Err(Refused::Unknown);
        }
        Ok(Grant {
            principal: Principal::Unnamed,
            rights: Rights::Policies(policies),
            thing: None,
            exclusive_thing: false,
            principal_identifier: ANONYMOUS.to_owned(),
        })
    }
}

fn grant_authorized(said: &Authorized) -> Grant {
    Grant {
        principal: Principal::Unnamed,
        rights: Rights::Policies(said.policies().to_vec()),
        thing: None,
        exclusive_thing: false,
        principal_identifier: said.principal_id().to_owned(),
    }
}

#[cfg(test)]
mod tests;
