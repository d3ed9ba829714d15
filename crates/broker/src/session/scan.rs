//! Retained messages for a new subscription, in steps and at the pace of the reader.
//!
//! A scan asks the shards that may own matching topics; each answers a step at a time and is asked
//! for the next when what came was sent. A message published meanwhile is newer than what a step
//! finds: its topic is passed over, unless it is the very message that was found. One that a step
//! finds before its live copy is here is not delivered again.

use std::sync::{Arc, Weak};

use bitts_mqtt::{QoS, SubscriptionOptions};

use super::Subscription;
use super::outbound::{Delivery, Identifiers, Transit};
use crate::message::Message;
use crate::outbox::{Outbox, Parcel, SessionRef};
use crate::shard::Shard;
use crate::slot::{NameKey, ShardId};
use crate::time::{Moment, Now};

/// Topics remembered as published during a scan; beyond, a subscriber may see an older one last.
const LIVE_TOPICS_MAX: usize = 4_096;
/// A session's queue is short enough to ask for the next step.
const QUEUE_SHORT: usize = 64;
/// How long the live copy of a retained message may be under way between shards, in milliseconds.
const LIVE_COPY_MS: u64 = 2_000;

/// One step: what was found, and where to go on behind it.
type Found = (Vec<Arc<Message>>, Option<Box<str>>);

/// An answer to a SUBSCRIBE that is not complete.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Of all of the shard's.
    id: u32,
    pub(crate) filter: Arc<str>,
    options: SubscriptionOptions,
    identifier: u32,
    /// Shards that have not said that they are done.
    outstanding: usize,
    /// Where to go on when the reader has caught up.
    paused: Vec<(ShardId, Box<str>)>,
    /// Steps that came while the reader had not; at most one of each shard.
    kept: Vec<(ShardId, Found)>,
    /// What was published meanwhile: its topic, and the message.
    live: Vec<(NameKey, Weak<Message>)>,
}

impl Scan {
    /// Whether the topic's retained message is newer than the one found. The same one is delivered
    /// with RETAIN although it was delivered live: a subscriber may wait for that.
    fn has_newer(&self, key: NameKey, found: &Arc<Message>) -> bool {
        let newest = self.live.iter().rev().find(|(topic, _)| *topic == key);
        newest.is_some_and(|(_, message)| message.as_ptr() != Arc::as_ptr(found))
    }
}

/// A retained message that a scan delivered and whose live copy may still come.
#[derive(Debug)]
pub(crate) struct EarlyCopy {
    message: Weak<Message>,
    until: Moment,
}

impl Shard {
    /// A retained message is to be delivered live, perhaps while scans are under way; `true` if a
    /// scan delivered this very message to the session's only subscription for it.
    pub(crate) fn meets_scan(
        &mut self,
        now: Now,
        index: u32,
        transit: &Transit<'_>,
        is_only: bool,
    ) -> bool {
        let session = self.sessions.get_mut(index as usize);
        let Some(extra) = session.and_then(|session| session.extra.as_mut()) else { return false };
        for scan in &mut extra.scans {
            let has_room = scan.live.len() < LIVE_TOPICS_MAX;
            if has_room && bitts_mqtt::matches(&scan.filter, transit.topic) {
                let message = transit.parked.as_ref().map(Arc::downgrade).unwrap_or_default();
                scan.live.push((self.placement.key_of(transit.topic), message));
            }
        }
        extra.early_copies.retain(|early| early.until > now.moment);
        let Some(message) = transit.parked.as_ref().filter(|_| is_only) else { return false };
        let is_same = |early: &EarlyCopy| early.message.as_ptr() == Arc::as_ptr(message);
        let found = extra.early_copies.iter().position(is_same);
        found.map(|at| extra.early_copies.swap_remove(at)).is_some()
    }

    /// Asks for the retained messages of a subscription that exists, when those of other filters
    /// are through.
    pub(crate) fn start_scan(&mut self, index: u32, filter: &Arc<str>, out: &mut Outbox) {
        let extra = self.session(index).extra.get_or_insert_default();
        if extra.scans.is_empty() && extra.scans_waiting.is_empty() {
            self.begin_scan(index, filter, out);
        } else if !extra.scans_waiting.iter().any(|waiting| Arc::ptr_eq(waiting, filter)) {
            extra.scans_waiting.push_back(Arc::clone(filter));
        }
    }

    /// A filter's subscription ends, and with it its scan.
    pub(crate) fn end_scan(&mut self, index: u32, filter: &str, out: &mut Outbox) {
        let Some(extra) = &mut self.session(index).extra else { return };
        let before = extra.scans.len();
        extra.scans.retain(|scan| &*scan.filter != filter);
        extra.scans_waiting.retain(|waiting| &**waiting != filter);
        if extra.scans.len() < before {
            self.next_scan(index, out);
        }
        self.session(index).let_go_of_extra();
    }

    /// A scan is through: the next filter's turn comes in a later turn.
    fn next_scan(&mut self, index: u32, out: &mut Outbox) {
        let me = self.session_ref(index);
        let session = self.session(index);
        let Some(extra) = session.extra.as_mut().filter(|extra| extra.scans.is_empty()) else {
            return;
        };
        if !extra.scans_waiting.is_empty() {
            out.parcels.push((self.id, Parcel::NextScan { session: me }));
        }
    }

    /// The turn of the next filter that is still subscribed to.
    pub(crate) fn on_next_scan(&mut self, session: SessionRef, out: &mut Outbox) {
        let Some(index) = self.resolve(session) else { return };
        while let Some(extra) = self.session(index).extra.as_mut()
            && extra.scans.is_empty()
            && let Some(filter) = extra.scans_waiting.pop_front()
        {
            self.begin_scan(index, &filter, out);
        }
        self.session(index).let_go_of_extra();
    }

    fn begin_scan(&mut self, index: u32, filter: &Arc<str>, out: &mut Outbox) {
        let is_wild = filter.contains(['+', '#']);
        let owner = self.placement.owner_of(filter);
        let shards = if is_wild { self.placement.all() } else { crate::ShardSet::only(owner) };
        let me = self.session_ref(index);
        self.next_scan = self.next_scan.wrapping_add(1);
        let id = self.next_scan;
        let session = self.session(index);
        let Ok(at) = session.find_subscription(filter) else { return };
        let Some(Subscription { options, identifier, .. }) = session.subscriptions.get(at).cloned()
        else {
            return;
        };
        session.extra.get_or_insert_default().scans.push(Scan {
            id,
            filter: Arc::clone(filter),
            options,
            identifier,
            outstanding: shards.iter().count(),
            paused: Vec::new(),
            kept: Vec::new(),
            live: Vec::new(),
        });
        // Mail also to this shard itself: what is to be retained and acknowledged may be in its
        // inbox.
        for shard in shards.iter() {
            let (session, filter, after) = (me, Arc::clone(filter), None);
            out.parcels.push((shard, Parcel::RetainedWanted { session, scan: id, filter, after }));
        }
    }

    /// Answers one step; this shard may own matching topics.
    pub(crate) fn on_retained_wanted(
        &mut self,
        now: Now,
        session: SessionRef,
        scan: u32,
        filter: &str,
        after: Option<&str>,
        out: &mut Outbox,
    ) {
        let step = self.limits.retained_step;
        let (messages, next, expired) = self.retained.scan(filter, after, step, now.moment);
        self.interest.count_retained(expired);
        let found = Parcel::RetainedFound { session, scan, messages, next };
        self.tell(now, session.shard, found, out);
    }

    /// One step came back.
    pub(crate) fn on_retained_found(
        &mut self,
        now: Now,
        from: ShardId,
        session: SessionRef,
        scan: u32,
        found: Found,
        out: &mut Outbox,
    ) {
        let Some(index) = self.resolve(session) else { return };
        if !self.has_caught_up(index) {
            let scans = self.session(index).extra.iter_mut().flat_map(|extra| &mut extra.scans);
            if let Some(held) = scans.into_iter().find(|held| held.id == scan) {
                held.kept.push((from, found));
            }
            return;
        }
        let key = self.session(index).key;
        let (messages, next) = found;
        let Some(extra) = &mut self.session(index).extra else { return };
        let Some(mut held) = extra.scans.iter().position(|held| held.id == scan).map(|at| {
            // Out of the list while its messages are delivered: they are not live ones.
            extra.scans.swap_remove(at)
        }) else {
            return;
        };
        for message in &messages {
            let is_own = held.options.no_local && message.publisher == key;
            if is_own || held.has_newer(self.placement.key_of(&message.topic), message) {
                continue;
            }
            let identifiers: Identifiers =
                (held.identifier != 0).then_some(held.identifier).into_iter().collect();
            let qos: QoS = message.qos.min(held.options.qos);
            let delivery = Delivery { qos, retain: true, identifiers: &identifiers, group: None };
            self.deliver(now, index, &mut Transit::parked(message), delivery, out);
            self.expect_live_copy(now, index, message);
        }
        match next {
            Some(next) => held.paused.push((from, next)),
            None => held.outstanding -= 1,
        }
        if held.outstanding > 0
            && let Some(extra) = &mut self.session(index).extra
        {
            extra.scans.push(held);
        } else {
            self.next_scan(index, out);
        }
        self.continue_scans(now, index, out);
        self.session(index).let_go_of_extra();
    }

    /// A retained message was delivered whose live copy may still be under way.
    fn expect_live_copy(&mut self, now: Now, index: u32, message: &Arc<Message>) {
        let until_ms = message.accepted_unix_ms.saturating_add(LIVE_COPY_MS);
        let left = until_ms.saturating_sub(now.unix_ms).min(LIVE_COPY_MS);
        let copies = &mut self.session(index).extra.get_or_insert_default().early_copies;
        if left > 0 && copies.len() < LIVE_TOPICS_MAX {
            let until = now.moment.plus_millis(left);
            copies.push(EarlyCopy { message: Arc::downgrade(message), until });
        }
    }

    /// Its connection takes bytes, and little waits for it.
    fn has_caught_up(&mut self, index: u32) -> bool {
        let session = self.session(index);
        session.connection.as_ref().is_some_and(|held| !held.congested)
            && session.queued() < QUEUE_SHORT
    }

    /// Delivers a step that was kept or asks for the next ones, if the reader has caught up.
    pub(crate) fn continue_scans(&mut self, now: Now, index: u32, out: &mut Outbox) {
        if !self.has_caught_up(index) {
            return;
        }
        let me = self.session_ref(index);
        let Some(extra) = &mut self.session(index).extra else { return };
        let kept = extra.scans.iter_mut().find_map(|scan| Some((scan.id, scan.kept.pop()?)));
        if let Some((scan, (from, found))) = kept {
            self.on_retained_found(now, from, me, scan, found, out);
            return;
        }
        for held in &mut extra.scans {
            for (shard, after) in held.paused.drain(..) {
                let (scan, filter, after) = (held.id, Arc::clone(&held.filter), Some(after));
                out.parcels
                    .push((shard, Parcel::RetainedWanted { session: me, scan, filter, after }));
            }
        }
    }
}
