//! From a topic to the sessions and groups of this shard that want it, and to the other shards.
//!
//! [`Router`] knows filters and who holds them, nothing of sessions or delivery. Each filter is
//! kept once, under its key ([`shape`]); [`Interest`] tells other shards that something is kept.

mod interest;
pub(crate) mod retained;
pub(crate) mod shape;
pub(crate) mod share;

use std::sync::Arc;

use bitts_mqtt::{QoS, SubscriptionOptions};
use hashbrown::HashMap;

pub use interest::Interest;

use crate::shard::Map;
use crate::slot::{ShardId, ShardSet};
use interest::cell_of;
use shape::{Levels, Place, Shape};

/// A session's hold on a filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Subscriber {
    /// Position of the session.
    pub(crate) session: u32,
    /// Subscription Identifier, 0 for none.
    pub(crate) identifier: u32,
    /// Granted QoS, No Local, Retain As Published.
    pub(crate) options: SubscriptionOptions,
}

/// The sessions that hold one filter. Most filters have one, which needs no memory of its own.
#[derive(Debug, Default)]
enum Subscribers {
    #[default]
    None,
    One(Subscriber),
    Many(Box<Many>),
}

/// Several subscribers; where they are many, they are found by position.
#[derive(Debug, Default)]
struct Many {
    list: Vec<Subscriber>,
    positions: Option<HashMap<u32, u32, foldhash::fast::FixedState>>,
}

/// From how many subscribers on their positions are remembered.
const POSITIONS_FROM: usize = 32;

impl Subscribers {
    fn as_slice(&self) -> &[Subscriber] {
        match self {
            Self::None => &[],
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(many) => &many.list,
        }
    }

    /// Adds or replaces a subscriber.
    fn put(&mut self, subscriber: Subscriber) {
        match self {
            Self::None => *self = Self::One(subscriber),
            Self::One(only) if only.session == subscriber.session => *only = subscriber,
            Self::One(only) => {
                let list = vec![*only, subscriber];
                *self = Self::Many(Box::new(Many { list, positions: None }));
            }
            Self::Many(many) => many.put(subscriber),
        }
    }

    fn remove(&mut self, session: u32) {
        match self {
            Self::One(only) if only.session == session => *self = Self::None,
            Self::None | Self::One(_) => {}
            Self::Many(many) => {
                many.remove(session);
                if let [only] = many.list[..] {
                    *self = Self::One(only);
                }
            }
        }
    }
}

impl Many {
    fn position(&self, session: u32) -> Option<usize> {
        match &self.positions {
            Some(positions) => positions.get(&session).map(|at| *at as usize),
            None => self.list.iter().position(|held| held.session == session),
        }
    }

    fn put(&mut self, subscriber: Subscriber) {
        if let Some(held) = self.position(subscriber.session).and_then(|at| self.list.get_mut(at)) {
            *held = subscriber;
            return;
        }
        self.list.push(subscriber);
        if let Some(positions) = &mut self.positions {
            positions.insert(subscriber.session, (self.list.len() - 1) as u32);
        } else if self.list.len() > POSITIONS_FROM {
            let held = self.list.iter().enumerate().map(|(at, held)| (held.session, at as u32));
            self.positions = Some(held.collect());
        }
    }

    fn remove(&mut self, session: u32) {
        let Some(at) = self.position(session) else { return };
        self.list.swap_remove(at);
        if let Some(positions) = &mut self.positions {
            positions.remove(&session);
            if let Some(moved) = self.list.get(at) {
                positions.insert(moved.session, at as u32);
            }
        }
    }
}

/// One Topic Filter and who holds it.
#[derive(Debug)]
struct Held {
    filter: Arc<str>,
    subscribers: Subscribers,
    more: Option<Box<More>>,
}

/// What few filters have.
#[derive(Debug, Default)]
struct More {
    /// `$share` groups on this filter, by position.
    groups: Vec<u32>,
    /// Another filter under the same key.
    next: Option<Held>,
}

impl Held {
    fn new(filter: Arc<str>) -> Self {
        Self { filter, subscribers: Subscribers::None, more: None }
    }

    fn groups(&self) -> &[u32] {
        self.more.as_ref().map_or(&[], |more| &more.groups)
    }

    fn next(&self) -> Option<&Self> {
        self.more.as_ref()?.next.as_ref()
    }

    fn is_unused(&self) -> bool {
        self.subscribers.as_slice().is_empty() && self.groups().is_empty()
    }

    fn find(&mut self, filter: &str) -> Option<&mut Self> {
        let mut held = Some(self);
        while let Some(this) = held {
            if &*this.filter == filter {
                return Some(this);
            }
            held = this.more.as_mut().and_then(|more| more.next.as_mut());
        }
        None
    }
}

/// What a topic matches on this shard and elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    /// Holds of sessions; several of one session where its filters overlap.
    pub(crate) subscribers: Vec<Subscriber>,
    /// `$share` groups owned here.
    pub(crate) groups: Vec<u32>,
    /// How many filters matched; with one, no session is in the list twice.
    pub(crate) filters: u32,
    /// Other shards that may want it.
    pub(crate) others: ShardSet,
    /// A session that outlives its connection may want it, here or elsewhere.
    pub(crate) persistent: bool,
}

/// Who holds a filter here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Holder {
    /// A session.
    Session(Subscriber),
    /// A `$share` group, by position.
    Group(u32),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Router {
    shard: ShardId,
    interest: Arc<Interest>,
    table: Map<u64, Held>,
    deep: Vec<Held>,
    /// Holds under each cell.
    cells: Vec<u32>,
    /// Of these, those of sessions that outlive their connection. Untouched pages cost nothing.
    persistent_cells: Vec<u32>,
    own_shapes: Map<Shape, u32>,
    shapes: Vec<Shape>,
    generation: u64,
    levels: Levels,
    deep_count: u32,
    /// `a/#` matches `a`.
    matches_parent: bool,
}

impl Router {
    pub(crate) fn new(shard: ShardId, interest: Arc<Interest>, seed: u64) -> Self {
        Self {
            shard,
            interest,
            table: crate::shard::map(seed),
            deep: Vec::new(),
            cells: vec![0; interest::CELLS],
            persistent_cells: vec![0; interest::CELLS],
            own_shapes: crate::shard::map(seed),
            shapes: Vec::new(),
            generation: 0,
            levels: Levels::default(),
            deep_count: 0,
            matches_parent: true,
        }
    }

    pub(crate) fn set_matches_parent(&mut self, matches_parent: bool) {
        self.matches_parent = matches_parent;
    }

    /// Makes room for so many more filters.
    pub(crate) fn reserve(&mut self, filters: usize) {
        self.table.reserve(filters);
    }

    /// How many wildcard shapes the whole server uses, and filters that have none.
    pub(crate) fn shape_count(&self) -> usize {
        self.interest.shapes().len() + self.interest.deep_filters() as usize
    }

    /// Whether any shard has a filter of the shape of this one, so that it costs no new one.
    pub(crate) fn knows_shape(&self, shape: Shape) -> bool {
        self.interest.shapes().iter().any(|used| used.shape == shape)
    }

    /// Adds a holder of a filter (without `$share` prefix), or replaces a session's hold on it.
    ///
    /// `fresh`: the holder did not hold it before.
    pub(crate) fn hold(
        &mut self,
        filter: &Arc<str>,
        holder: Holder,
        fresh: bool,
        persistent: bool,
    ) {
        let place = self.interest.keys().place(filter);
        let held = match place {
            Place::Exact(key) | Place::Shaped(_, key) => {
                let first = self.table.entry(key).or_insert_with(|| Held::new(Arc::clone(filter)));
                chain(first, filter)
            }
            Place::Deep => {
                let at = self.deep.iter().position(|held| held.filter == *filter);
                let at = at.unwrap_or_else(|| {
                    self.deep.push(Held::new(Arc::clone(filter)));
                    self.deep.len() - 1
                });
                match self.deep.get_mut(at) {
                    Some(held) => held,
                    None => return,
                }
            }
        };
        match holder {
            Holder::Session(subscriber) => held.subscribers.put(subscriber),
            Holder::Group(group) => {
                let groups = &mut held.more.get_or_insert_default().groups;
                if !groups.contains(&group) {
                    groups.push(group);
                }
            }
        }
        if fresh {
            self.count(place, persistent, true);
        }
    }

    /// Takes a holder off a filter that it holds.
    pub(crate) fn release(&mut self, filter: &str, holder: Holder, persistent: bool) {
        let place = self.interest.keys().place(filter);
        match place {
            Place::Exact(key) | Place::Shaped(_, key) => {
                let Some(mut first) = self.table.remove(&key) else { return };
                if let Some(held) = first.find(filter) {
                    release_from(held, holder);
                }
                if let Some(rest) = without_unused(first) {
                    self.table.insert(key, rest);
                }
            }
            Place::Deep => {
                if let Some(held) = self.deep.iter_mut().find(|held| &*held.filter == filter) {
                    release_from(held, holder);
                }
                self.deep.retain(|held| !held.is_unused());
            }
        }
        self.count(place, persistent, false);
    }

    /// Says that a hold became, or stopped being, one of a session that outlives its connection.
    pub(crate) fn set_persistent(&mut self, filter: &str, persistent: bool) {
        if let Place::Exact(key) | Place::Shaped(_, key) = self.interest.keys().place(filter) {
            self.count_cell(key, true, persistent);
        }
    }

    fn count(&mut self, place: Place, persistent: bool, more: bool) {
        let key = match place {
            Place::Exact(key) => key,
            Place::Shaped(shape, key) => {
                self.count_shape(shape, more);
                key
            }
            Place::Deep => {
                self.deep_count = if more { self.deep_count + 1 } else { self.deep_count - 1 };
                self.interest.set_deep(self.shard, self.deep_count > 0);
                self.interest.count_deep(more);
                return;
            }
        };
        self.count_cell(key, false, more);
        if persistent {
            self.count_cell(key, true, more);
        }
    }

    fn count_cell(&mut self, key: u64, persistent: bool, more: bool) {
        let cells = if persistent { &mut self.persistent_cells } else { &mut self.cells };
        let Some(count) = cells.get_mut(cell_of(key)) else { return };
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if (more && *count == 1) || (!more && *count == 0) {
            self.interest.set(self.shard, key, more, persistent);
        }
    }

    fn count_shape(&mut self, shape: Shape, more: bool) {
        let count = self.own_shapes.entry(shape).or_insert(0);
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        let now = *count;
        if now == 0 {
            self.own_shapes.remove(&shape);
        }
        if (more && now == 1) || (!more && now == 0) {
            self.interest.set_shape(self.shard, shape, more);
        }
    }

    fn refresh_shapes(&mut self) {
        let generation = self.interest.generation();
        if generation != self.generation {
            self.generation = generation;
            self.shapes.clear();
            self.shapes.extend(self.interest.shapes().iter().map(|used| used.shape));
        }
    }

    /// Finds who wants a topic. Hot: once per PUBLISH. Allocates only while `matches` grows.
    pub(crate) fn find(&mut self, topic: &str, matches: &mut Matches) {
        matches.subscribers.clear();
        matches.groups.clear();
        matches.filters = 0;
        matches.others = ShardSet::EMPTY;
        matches.persistent = false;
        self.refresh_shapes();
        self.interest.keys().levels(topic, &mut self.levels);
        let exact = self.interest.keys().exact(&self.levels);
        self.probe(exact, topic, matches);
        for at in 0..self.shapes.len() {
            let Some(shape) = self.shapes.get(at).copied() else { break };
            if let Some(key) = self.interest.keys().shaped(&self.levels, shape) {
                self.probe(key, topic, matches);
            }
        }
        let deep = self.interest.deep();
        matches.others = matches.others.union(deep).without(self.shard);
        matches.persistent |= !deep.is_empty();
        if deep.contains(self.shard) {
            self.deep.iter().for_each(|held| self.take(held, topic, matches));
        }
    }

    fn take(&self, held: &Held, topic: &str, matches: &mut Matches) {
        if !bitts_mqtt::matches(&held.filter, topic)
            || (!self.matches_parent && is_parent(&held.filter, topic))
        {
            return;
        }
        matches.filters += 1;
        matches.subscribers.extend_from_slice(held.subscribers.as_slice());
        matches.groups.extend_from_slice(held.groups());
    }

    fn probe(&self, key: u64, topic: &str, matches: &mut Matches) {
        let wanted = self.interest.wanted(key);
        matches.others = matches.others.union(wanted.shards);
        matches.persistent |= !wanted.persistent.is_empty();
        if !wanted.shards.contains(self.shard) {
            return;
        }
        let mut held = self.table.get(&key);
        while let Some(this) = held {
            self.take(this, topic, matches);
            held = this.next();
        }
    }
}

/// Whether the filter ends with `/#` and names the topic's parent level, no more.
fn is_parent(filter: &str, topic: &str) -> bool {
    filter.strip_suffix("/#").is_some_and(|parent| {
        parent.bytes().filter(|byte| *byte == b'/').count()
            == topic.bytes().filter(|byte| *byte == b'/').count()
    })
}

fn release_from(held: &mut Held, holder: Holder) {
    match holder {
        Holder::Session(subscriber) => held.subscribers.remove(subscriber.session),
        Holder::Group(group) => {
            if let Some(more) = &mut held.more {
                more.groups.retain(|other| *other != group);
            }
        }
    }
}

/// The filter in a chain, appended if it is not there.
fn chain<'a>(first: &'a mut Held, filter: &Arc<str>) -> &'a mut Held {
    let mut held = first;
    while held.filter != *filter {
        let more = held.more.get_or_insert_default();
        held = more.next.get_or_insert_with(|| Held::new(Arc::clone(filter)));
    }
    held
}

fn without_unused(mut first: Held) -> Option<Held> {
    let rest = first.more.as_mut().and_then(|more| more.next.take()).and_then(without_unused);
    if first.is_unused() {
        return rest;
    }
    match (&mut first.more, rest) {
        (more, Some(rest)) => more.get_or_insert_default().next = Some(rest),
        (Some(more), None) if more.groups.is_empty() => first.more = None,
        (_, None) => {}
    }
    Some(first)
}

/// What a session is due where several of its filters match one message: the highest QoS, once,
/// with every Subscription Identifier [MQTT-3.3.4-2..5].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Merged {
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
}

impl Merged {
    pub(crate) fn of(options: SubscriptionOptions) -> Self {
        Self { qos: options.qos, retain_as_published: options.retain_as_published }
    }

    pub(crate) fn with(self, options: SubscriptionOptions) -> Self {
        Self {
            qos: self.qos.max(options.qos),
            retain_as_published: self.retain_as_published || options.retain_as_published,
        }
    }
}
