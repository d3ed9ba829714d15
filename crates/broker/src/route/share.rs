//! The `$share` groups this shard owns: who their members are and whose turn it is.
//!
//! Each message goes to one member [MQTT-4.8.2-3..6]: round robin among those connected, passing
//! over one that says it cannot take more while another may. While nobody is connected but a
//! member's session outlives its connection, QoS 1 and 2 wait here and go to the first that comes
//! back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use slab::Slab;

use crate::message::Message;
use crate::outbox::{Member, SessionRef};
use crate::rates::Bucket;
use crate::shard::Map;

/// How often a message goes to one who must take it, because all others were asked.
pub(crate) const ASKED_ALL: u16 = u16::MAX;

/// Members that are asked whether they have room before one must take a message.
pub(crate) const ASKED_MAX: usize = 16;

/// A message that waits for a member.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    /// The number under which it is kept.
    pub(crate) number: u64,
    pub(crate) message: Arc<Message>,
}

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    /// `$share/{ShareName}/{filter}`.
    pub(crate) name: Arc<str>,
    /// The filter alone.
    pub(crate) filter: Arc<str>,
    pub(crate) members: Vec<Member>,
    pub(crate) parked: VecDeque<Parked>,
    pub(crate) parked_bytes: usize,
    /// What members of other shards were given and have not said that they have.
    pub(crate) handed: BTreeMap<u64, Arc<Message>>,
    /// Messages that waited and were delivered lately.
    pub(crate) drained: Bucket,
    turn: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Groups {
    groups: Slab<Group>,
    by_name: Map<Arc<str>, u32>,
}

impl Group {
    /// Makes or changes a member.
    pub(crate) fn put(&mut self, member: Member) {
        if let Some(held) = self.members.iter_mut().find(|held| held.session == member.session) {
            *held = member;
        } else {
            self.members.push(member);
        }
    }

    pub(crate) fn remove(&mut self, session: SessionRef) {
        self.members.retain(|held| held.session != session);
    }

    /// The connected member whose turn it is.
    pub(crate) fn next(&mut self) -> Option<&Member> {
        let count = self.members.len();
        let start = self.turn;
        let at = (0..count)
            .map(|step| (start + step) % count)
            .find(|at| self.members.get(*at).is_some_and(|member| member.connected))?;
        self.turn = at + 1;
        self.members.get(at)
    }

    /// A member is not connected, although nothing was heard of that.
    pub(crate) fn is_away(&mut self, session: SessionRef) {
        if let Some(held) = self.members.iter_mut().find(|held| held.session == session) {
            held.connected = false;
        }
    }

    pub(crate) fn connected(&self) -> usize {
        self.members.iter().filter(|member| member.connected).count()
    }

    /// Everything that waits, to be delivered or dropped.
    pub(crate) fn take_parked(&mut self) -> VecDeque<Parked> {
        self.parked_bytes = 0;
        std::mem::take(&mut self.parked)
    }

    /// The message that waits longest.
    pub(crate) fn take_one_parked(&mut self) -> Option<Parked> {
        let parked = self.parked.pop_front()?;
        self.parked_bytes -= parked.message.bytes();
        Some(parked)
    }

    /// Everything that is kept, by number.
    pub(crate) fn saved(&self) -> Vec<(u64, Arc<Message>)> {
        let handed = self.handed.iter().map(|(number, message)| (*number, Arc::clone(message)));
        let parked = self.parked.iter().map(|held| (held.number, Arc::clone(&held.message)));
        handed.chain(parked).collect()
    }

    /// A member's session outlives its connection, so messages may wait.
    pub(crate) fn is_persistent(&self) -> bool {
        self.members.iter().any(|member| member.persistent)
    }
}

impl Groups {
    pub(crate) fn new(seed: u64) -> Self {
        Self { groups: Slab::new(), by_name: crate::shard::map(seed) }
    }

    pub(crate) fn position(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn at(&mut self, position: u32) -> Option<&mut Group> {
        self.groups.get_mut(position as usize)
    }

    /// The group's position; `true` where it was made for this.
    pub(crate) fn make(&mut self, name: &Arc<str>, filter: &str) -> (u32, bool) {
        if let Some(position) = self.position(name) {
            return (position, false);
        }
        let position = self.groups.insert(Group {
            name: Arc::clone(name),
            filter: filter.into(),
            members: Vec::new(),
            parked: VecDeque::new(),
            parked_bytes: 0,
            handed: BTreeMap::new(),
            drained: Bucket::default(),
            turn: 0,
        }) as u32;
        self.by_name.insert(Arc::clone(name), position);
        (position, true)
    }

    /// Positions are below this.
    pub(crate) fn capacity(&self) -> usize {
        self.groups.capacity()
    }

    pub(crate) fn remove(&mut self, position: u32) -> Option<Group> {
        let group = self.groups.try_remove(position as usize)?;
        self.by_name.remove(&group.name);
        Some(group)
    }
}
