//! A registry that is being changed, and the rows that say how.
//!
//! Everything that changes a registry goes through here, so that map and row cannot differ. A
//! draft that is not [finished](Draft::finish) leaves nothing behind: an operation may refuse at
//! any point.

use std::ops::Deref;
use std::sync::Arc;

use super::row::{Record, json};
use super::{Linked, Principal, Registry, Row, Settings, Table};

/// See the module. Reads as the registry that it will be.
pub(crate) struct Draft {
    registry: Registry,
    rows: Vec<Row>,
}

impl Deref for Draft {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        &self.registry
    }
}

impl Draft {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self { registry: registry.clone(), rows: Vec::new() }
    }

    /// The registry and its rows; its generation rises if there are any.
    pub(crate) fn finish(mut self) -> (Registry, Vec<Row>) {
        if !self.rows.is_empty() {
            self.change_settings(|settings| settings.generation += 1);
        }
        (self.registry, self.rows)
    }

    fn row(&mut self, table: Table, key: String, value: Option<Vec<u8>>) {
        self.rows.push(Row { table, key, value });
    }

    /// Puts a record that is complete.
    pub(crate) fn put<R: Record>(&mut self, name: &str, record: R) {
        self.row(R::TABLE, name.to_owned(), json(&record));
        R::map_mut(&mut self.registry).insert(name.into(), Arc::new(record));
    }

    /// Takes a record away, if it is there.
    pub(crate) fn remove<R: Record>(&mut self, name: &str) {
        if R::map_mut(&mut self.registry).remove(|known| (**known).cmp(name)).is_some() {
            self.row(R::TABLE, name.to_owned(), None);
        }
    }

    pub(crate) fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.registry.settings);
        let value = json(&self.registry.settings);
        self.row(Table::Settings, String::new(), value);
    }

    pub(crate) fn add_member(&mut self, group: &str, thing: &str) {
        self.registry.members.insert(group, thing, Linked {});
        self.row(Table::Member, format!("{group}\n{thing}"), json(&Linked {}));
    }

    pub(crate) fn remove_member(&mut self, group: &str, thing: &str) {
        if self.registry.members.remove(group, thing) {
            self.row(Table::Member, format!("{group}\n{thing}"), None);
        }
    }

    pub(crate) fn attach(&mut self, target: &str, policy: &str) {
        self.registry.attachments.insert(target, policy, Linked {});
        self.row(Table::Attachment, format!("{target}\n{policy}"), json(&Linked {}));
    }

    pub(crate) fn detach(&mut self, target: &str, policy: &str) {
        if self.registry.attachments.remove(target, policy) {
            self.row(Table::Attachment, format!("{target}\n{policy}"), None);
        }
    }

    /// Detaches every policy of a target.
    pub(crate) fn detach_all(&mut self, target: &str) {
        let attached = self.registry.attachments.of(target);
        let attached: Vec<_> = attached.map(|(policy, _)| policy.to_owned()).collect();
        for policy in attached {
            self.detach(target, &policy);
        }
    }

    pub(crate) fn bind(&mut self, thing: &str, principal: &str, how: Principal) {
        self.registry.principals.insert(thing, principal, how);
        self.row(Table::Principal, format!("{thing}\n{principal}"), json(&how));
    }

    pub(crate) fn unbind(&mut self, thing: &str, principal: &str) {
        if self.registry.principals.remove(thing, principal) {
            self.row(Table::Principal, format!("{thing}\n{principal}"), None);
        }
    }
}
