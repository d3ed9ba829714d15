//! The registry as rows, for a store: what a change wrote, and a registry from what was written.
//!
//! A [`Row`] is one record or relation by its table and key; a value of `None` takes it away.
//! Values are JSON. Rows apply in order, the later one wins. They hold no ARN: where a registry
//! is, its region and account, is the configuration's.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::map::OrderedMap;
use super::record::{
    AccessKey, Authorizer, CaCertificate, Certificate, PolicyRecord, Thing, ThingGroup, ThingType,
    User,
};
use super::{Linked, Principal, Registry, RegistryLimits, Settings, Tags};
use crate::policy::{ArnScope, MalformedPolicy, Policy};

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident = $name:literal;)*) => {
        /// Which kind of row.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
        pub enum Table { $($(#[$doc])* #[serde(rename = $name)] $table,)* }

        impl Table {
            /// Its name in a store.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$table => $name,)* }
            }
        }
    };
}

tables! {
    /// Things, by name.
    Thing = "thing";
    /// Types of things, by name.
    ThingType = "thingType";
    /// Groups of things, by name.
    ThingGroup = "thingGroup";
    /// `GROUP\nTHING`.
    Member = "member";
    /// Certificates of clients, by id.
    Certificate = "certificate";
    /// Certificates of authorities, by id.
    CaCertificate = "caCertificate";
    /// Policies, by name.
    Policy = "policy";
    /// `TARGET\nPOLICY`.
    Attachment = "attachment";
    /// `THING\nPRINCIPAL`.
    Principal = "principal";
    /// Custom authorizers, by name.
    Authorizer = "authorizer";
    /// Access keys, by id.
    AccessKey = "accessKey";
    /// Users of MQTT, by name.
    User = "user";
    /// Tags, by `KIND/NAME`.
    Tags = "tags";
    /// Settings and the generation, under one key.
    Settings = "settings";
}

/// One change of the registry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// Of which table.
    pub table: Table,
    /// Which row.
    pub key: String,
    /// Its value, JSON; `None`: it is no more.
    pub value: Option<Vec<u8>>,
}

/// Why rows are no registry.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A value is not what its table holds.
    #[error("{}/{key:?}: {problem}", table.name())]
    Value {
        /// Of which table.
        table: Table,
        /// Which row.
        key: String,
        /// What is wrong.
        problem: serde_json::Error,
    },
    /// A key of two halves has one.
    #[error("{}/{key:?}: not two names", table.name())]
    Key {
        /// Of which table.
        table: Table,
        /// Which row.
        key: String,
    },
    /// A policy's document is none.
    #[error("policy {name:?}: {problem}")]
    Policy {
        /// Which policy.
        name: String,
        /// What is wrong.
        problem: MalformedPolicy,
    },
}

/// A kind of record that a map of the registry holds.
pub(crate) trait Record: Clone + DeserializeOwned + Serialize {
    const TABLE: Table;

    fn map(registry: &Registry) -> &OrderedMap<Arc<str>, Arc<Self>>;
    fn map_mut(registry: &mut Registry) -> &mut OrderedMap<Arc<str>, Arc<Self>>;

    /// Makes what is derived from the rest.
    fn complete(&mut self, _name: &str, _limits: &RegistryLimits) -> Result<(), MalformedPolicy> {
        Ok(())
    }
}

macro_rules! records {
    ($($record:ident in $field:ident;)*) => {
        $(impl Record for $record {
            const TABLE: Table = Table::$record;

            fn map(registry: &Registry) -> &OrderedMap<Arc<str>, Arc<Self>> {
                &registry.$field
            }

            fn map_mut(registry: &mut Registry) -> &mut OrderedMap<Arc<str>, Arc<Self>> {
                &mut registry.$field
            }
        })*
    };
}

records! {
    Thing in things;
    ThingType in thing_types;
    ThingGroup in thing_groups;
    Certificate in certificates;
    CaCertificate in ca_certificates;
    Authorizer in authorizers;
    AccessKey in access_keys;
    User in users;
    Tags in tags;
}

impl Record for PolicyRecord {
    const TABLE: Table = Table::Policy;

    fn map(registry: &Registry) -> &OrderedMap<Arc<str>, Arc<Self>> {
        &registry.policies
    }

    fn map_mut(registry: &mut Registry) -> &mut OrderedMap<Arc<str>, Arc<Self>> {
        &mut registry.policies
    }

    fn complete(&mut self, name: &str, limits: &RegistryLimits) -> Result<(), MalformedPolicy> {
        let version = self.versions.get(&self.default_version);
        let document = version.map_or("", |version| &*version.document);
        let policy = Policy::parse(name, self.default_version, document, &limits.policy)?;
        self.compiled = Some(Arc::new(policy));
        Ok(())
    }
}

impl Registry {
    /// The registry that rows make, in their order.
    pub fn load(
        scope: ArnScope,
        limits: RegistryLimits,
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<Self, LoadError> {
        let mut registry = Self::new(scope, limits);
        for row in rows {
            registry.apply_row(&row)?;
        }
        Ok(registry)
    }

    /// Every row, so that [`Registry::load`] gives the same registry.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        let pair = |(table, left, right, value): (Table, &str, &str, Option<Vec<u8>>)| Row {
            table,
            key: format!("{left}\n{right}"),
            value,
        };
        let members = self.members.iter().map(|(a, b, it)| (Table::Member, a, b, json(it)));
        let attached =
            self.attachments.iter().map(|(a, b, it)| (Table::Attachment, a, b, json(it)));
        let principals =
            self.principals.iter().map(|(a, b, it)| (Table::Principal, a, b, json(it)));
        let settings =
            Row { table: Table::Settings, key: String::new(), value: json(&self.settings) };
        rows_of::<Thing>(self)
            .chain(rows_of::<ThingType>(self))
            .chain(rows_of::<ThingGroup>(self))
            .chain(rows_of::<Certificate>(self))
            .chain(rows_of::<CaCertificate>(self))
            .chain(rows_of::<PolicyRecord>(self))
            .chain(rows_of::<Authorizer>(self))
            .chain(rows_of::<AccessKey>(self))
            .chain(rows_of::<User>(self))
            .chain(rows_of::<Tags>(self))
            .chain(members.chain(attached).chain(principals).map(pair))
            .chain([settings])
    }

    fn apply_row(&mut self, row: &Row) -> Result<(), LoadError> {
        match row.table {
            Table::Thing => self.apply_record::<Thing>(row),
            Table::ThingType => self.apply_record::<ThingType>(row),
            Table::ThingGroup => self.apply_record::<ThingGroup>(row),
            Table::Certificate => self.apply_record::<Certificate>(row),
            Table::CaCertificate => self.apply_record::<CaCertificate>(row),
            Table::Policy => self.apply_record::<PolicyRecord>(row),
            Table::Authorizer => self.apply_record::<Authorizer>(row),
            Table::AccessKey => self.apply_record::<AccessKey>(row),
            Table::User => self.apply_record::<User>(row),
            Table::Tags => self.apply_record::<Tags>(row),
            Table::Member => {
                let (group, thing) = halves(row)?;
                match value::<Linked>(row)? {
                    Some(it) => self.members.insert(group, thing, it),
                    None => drop(self.members.remove(group, thing)),
                }
                Ok(())
            }
            Table::Attachment => {
                let (target, policy) = halves(row)?;
                match value::<Linked>(row)? {
                    Some(it) => self.attachments.insert(target, policy, it),
                    None => drop(self.attachments.remove(target, policy)),
                }
                Ok(())
            }
            Table::Principal => {
                let (thing, principal) = halves(row)?;
                match value::<Principal>(row)? {
                    Some(it) => self.principals.insert(thing, principal, it),
                    None => drop(self.principals.remove(thing, principal)),
                }
                Ok(())
            }
            Table::Settings => {
                self.settings = value::<Settings>(row)?.unwrap_or_default();
                Ok(())
            }
        }
    }

    fn apply_record<R: Record>(&mut self, row: &Row) -> Result<(), LoadError> {
        let key: Arc<str> = row.key.as_str().into();
        let Some(mut record) = value::<R>(row)? else {
            R::map_mut(self).remove(|known| known.cmp(&key));
            return Ok(());
        };
        record
            .complete(&key, &self.limits)
            .map_err(|problem| LoadError::Policy { name: row.key.clone(), problem })?;
        R::map_mut(self).insert(key, Arc::new(record));
        Ok(())
    }
}

fn rows_of<'a, R: Record + 'a>(registry: &'a Registry) -> impl Iterator<Item = Row> {
    R::map(registry).iter().map(|(name, record)| Row {
        table: R::TABLE,
        key: name.to_string(),
        value: json(&**record),
    })
}

/// A value's JSON: there is nothing in a record that cannot be written.
pub(super) fn json(value: &impl Serialize) -> Option<Vec<u8>> {
    Some(serde_json::to_vec(value).unwrap_or_default())
}

fn value<T: DeserializeOwned>(row: &Row) -> Result<Option<T>, LoadError> {
    let read = row.value.as_deref().map(serde_json::from_slice).transpose();
    read.map_err(|problem| LoadError::Value { table: row.table, key: row.key.clone(), problem })
}

fn halves(row: &Row) -> Result<(&str, &str), LoadError> {
    let halves = row.key.split_once('\n');
    halves.ok_or_else(|| LoadError::Key { table: row.table, key: row.key.clone() })
}
