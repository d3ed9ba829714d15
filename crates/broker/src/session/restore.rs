//! Sessions from and to their saved form: after a restart, and for a checkpoint.

use std::collections::VecDeque;
use std::sync::Arc;

use bitts_mqtt::PacketId;

use super::outbound::{Inflight, NOT_OWED, Outbound, Sent};
use super::queue::Queued;
use super::will::SessionWill;
use super::{Session, Subscription};
use crate::outbox::Outbox;
use crate::record::{Record, SavedOwed, SavedPage, SavedSession, SavedSubscription, Stage};
use crate::route::{Holder, Matches};
use crate::session::Transit;
use crate::shard::Shard;
use crate::slot::Slot;
use crate::time::Now;

impl Session {
    /// Everything but what the client is owed.
    pub(crate) fn saved(&self) -> SavedSession {
        let subscription = |held: &Subscription| {
            let Subscription { filter, options, identifier } = held;
            let (options, identifier) = (*options, *identifier);
            (Arc::clone(filter), SavedSubscription { options, identifier })
        };
        let detached = self.cause.filter(|_| self.connection.is_none());
        SavedSession {
            client_id: Arc::clone(&self.client_id),
            version: self.version,
            expiry: self.expiry,
            keep_alive: self.keep_alive,
            version_number: self.version_number,
            identifier: self.identifier,
            detached: detached.map(|cause| (self.changed_unix_ms, cause)),
            principal: self.access.as_deref().map(|access| Box::new(access.saved())),
            will: self.will.as_deref().map(|will| Box::new(will.saved())),
            subscriptions: self.subscriptions.iter().map(subscription).collect(),
            received: self.inbound.as_ref().map(|held| held.identifiers()).unwrap_or_default(),
            owed: VecDeque::new(),
            pages: VecDeque::new(),
        }
    }
}

impl Shard {
    /// All sessions of this shard, in order, as [`Shard::restore_session`]. Each is let go before
    /// the next, so that there is never memory for two forms of all of them.
    #[expect(clippy::vec_box, reason = "whoever is done with one lets go of it")]
    pub(crate) fn restore_sessions(
        &mut self,
        now: Now,
        sessions: Vec<Box<SavedSession>>,
        out: &mut Outbox,
    ) {
        // With room for some more: what comes next need not move what is there.
        let room = sessions.len() + sessions.len() / 8;
        self.sessions.reserve(room);
        self.by_client.reserve(room);
        self.router.reserve(sessions.iter().map(|session| session.subscriptions.len()).sum());
        for session in sessions {
            self.restore_session(now, *session, out);
        }
    }

    /// A session that a process before this one had; this shard owns it, and it is new here.
    ///
    /// A connection that it had ended with that process, now. What a `$share` group must know goes
    /// out as parcels.
    pub fn restore_session(&mut self, now: Now, saved: SavedSession, out: &mut Outbox) {
        let SavedSession { client_id, version, expiry, detached, .. } = saved;
        let index = self.new_session(Arc::clone(&client_id));
        let ended = detached.map_or(now.moment, |(at, _)| now.moment_of(at));
        let access = saved.principal.and_then(|it| self.restored_access(&client_id, *it));
        let session = self.session(index);
        session.version = version;
        session.expiry = expiry;
        session.keep_alive = saved.keep_alive;
        session.version_number = saved.version_number;
        session.identifier = saved.identifier;
        session.access = access.map(Box::new);
        session.is_recorded = true;
        session.cause = Some(detached.map_or(crate::Cause::ServerInitiated, |(_, cause)| cause));
        session.changed_unix_ms = detached.map_or(now.unix_ms, |(at, _)| at);
        session.disconnected_at = ended;
        session.will = saved
            .will
            .map(|will| Box::new(SessionWill::restored(*will, expiry, now.moment, ended)));
        if expiry == 0 {
            // Nothing of it is left but its Will, and it goes with that.
            session.disconnected_at = session.will_due();
            self.end_restored(now, index, detached.is_none(), out);
            return;
        }
        session.subscriptions.reserve_exact(saved.subscriptions.len());
        for packet_id in saved.received {
            session.inbound.get_or_insert_default().restore(packet_id);
        }
        if !saved.owed.is_empty() || !saved.pages.is_empty() {
            let outbound = session.outbound.get_or_insert_default();
            outbound.restore(saved.owed, saved.pages);
            let (bytes, memory) = (outbound.queue.bytes(), outbound.queue.memory());
            self.queued_bytes += bytes;
            self.paging.memory += memory;
        }
        for (filter, held) in saved.subscriptions {
            self.restore_subscription(now, index, filter, held, out);
        }
        self.end_restored(now, index, detached.is_none(), out);
    }

    /// Says that the process that had the session's connection is gone, and reminds of what is due.
    fn end_restored(&mut self, now: Now, index: u32, was_connected: bool, out: &mut Outbox) {
        if was_connected {
            self.record_detached(now, index);
        }
        self.remind_of_next(index);
        self.seal(out);
    }

    fn restore_subscription(
        &mut self,
        now: Now,
        index: u32,
        filter: Arc<str>,
        held: SavedSubscription,
        out: &mut Outbox,
    ) {
        let SavedSubscription { options, identifier } = held;
        let session = self.session(index);
        // They come in the order of their filters.
        let subscription = Subscription { filter: Arc::clone(&filter), options, identifier };
        session.subscriptions.push(subscription.clone());
        session.count_shape(&filter, true);
        if bitts_mqtt::shared_filter(&filter).is_some() {
            self.join_group(now, index, &filter, None, out);
        } else {
            let holder = Holder::Session(subscription.as_subscriber(index));
            self.router.hold(&filter, holder, true, true);
        }
    }

    /// A message that shards of a process before this one accepted and others had not taken: to
    /// sessions and groups of this shard in `slots`.
    pub fn restore_message(
        &mut self,
        now: Now,
        message: &Arc<crate::Message>,
        slots: &impl Fn(Slot) -> bool,
        out: &mut Outbox,
    ) {
        if self.restore_request(now, message, slots, out) {
            self.seal(out);
            return;
        }
        let mut matches: Matches = std::mem::take(&mut self.matches);
        self.router.find(&message.topic, &mut matches);
        let sessions = &self.sessions;
        matches.subscribers.retain(|held| {
            sessions.get(held.session as usize).is_some_and(|session| slots(session.slot))
        });
        let placement = self.placement;
        let groups = &mut self.groups;
        matches.groups.retain(|group| {
            groups.at(*group).is_some_and(|group| slots(placement.slot_of(&group.name)))
        });
        self.deliver_matches(now, &mut Transit::parked(message), &mut matches, out);
        self.matches = matches;
        self.seal(out);
    }

    /// A retained message, as it was or as it should have become; this shard owns its topic.
    pub fn restore_retained(
        &mut self,
        message: Arc<crate::Message>,
        is_new: bool,
        out: &mut Outbox,
    ) {
        if is_new {
            self.retain(message);
            self.seal(out);
        } else {
            let change = self.retained.keep(message);
            self.interest.count_retained(change);
        }
    }

    /// The number of the next message of this shard's log; no earlier process used it.
    pub fn restore_log(&mut self, next_entry: u64) {
        self.next_entry = next_entry;
    }

    fn record_detached(&mut self, now: Now, index: u32) {
        let session = self.session(index);
        let record = Record::SessionDetached {
            client_id: Arc::clone(&session.client_id),
            cause: crate::Cause::ServerInitiated,
            expiry: session.expiry,
            at_unix_ms: now.unix_ms,
            will_pending: session.will.is_some(),
        };
        let slot = session.slot;
        self.record(slot, record);
    }

    /// Every session that the store knows of, whole.
    #[must_use]
    pub fn saved_sessions(&self) -> Vec<SavedSession> {
        let recorded = self.sessions.iter().filter(|(_, session)| session.is_recorded);
        let saved = |(index, session): (usize, &Session)| {
            let owed = self.saved_owed(index as u32, 0, usize::MAX).into();
            let pages = self.saved_pages(index as u32).into();
            SavedSession { owed, pages, ..session.saved() }
        };
        recorded.map(saved).collect()
    }

    /// The pages of a session's queue, for a checkpoint.
    pub(crate) fn saved_pages(&self, index: u32) -> Vec<SavedPage> {
        let outbound = self.sessions.get(index as usize).and_then(|held| held.outbound.as_ref());
        outbound.map(|outbound| outbound.queue.pages().copied().collect()).unwrap_or_default()
    }

    /// What a session is owed from a number on, at most `bytes` of it, for a checkpoint.
    pub(crate) fn saved_owed(&self, index: u32, from: u64, bytes: usize) -> Vec<SavedOwed> {
        let outbound = self.sessions.get(index as usize).and_then(|held| held.outbound.as_ref());
        outbound.map(|outbound| outbound.saved(from, bytes)).unwrap_or_default()
    }
}

impl Outbound {
    /// Takes what a session was owed, in order.
    fn restore(&mut self, owed: VecDeque<SavedOwed>, pages: VecDeque<SavedPage>) {
        let unsent = owed.iter().filter(|owed| owed.sent.is_none()).count();
        self.queue.reserve(unsent);
        self.inflight.reserve_exact(owed.len() - unsent);
        let mut pages = pages.into_iter().peekable();
        for owed in owed {
            while let Some(page) = pages.next_if(|page| page.first < owed.number) {
                self.restore_page(page);
            }
            self.restore_one(owed);
        }
        pages.for_each(|page| self.restore_page(page));
    }

    fn restore_page(&mut self, page: SavedPage) {
        self.owed = self.owed.max(page.last);
        self.queue.restore_page(page);
    }

    fn restore_one(&mut self, saved: SavedOwed) {
        self.owed = self.owed.max(saved.number);
        let Some((packet_id, stage)) = saved.sent else {
            if let Some(queued) = Queued::restored(saved) {
                self.queue.push(queued);
            }
            return;
        };
        let SavedOwed { number: owed, qos, retain, identifiers, group, message, .. } = saved;
        let Some(packet_id) = PacketId::new(packet_id) else { return };
        // The first number from here on that has this Packet Identifier.
        let ahead = (u64::from(packet_id.number()) + 65_534 - self.numbers % 65_535) % 65_535;
        let number = self.numbers + ahead;
        self.numbers = number + 1;
        self.unsent += usize::from(stage == Stage::Published);
        self.inflight.push_back(Inflight {
            owed,
            packet_id,
            stage,
            sent: Sent::Nothing,
            number,
            qos,
            retain,
            identifiers,
            group,
            message,
        });
    }

    /// What is owed from a number on: something, and no more behind so many bytes.
    fn saved(&self, from: u64, bytes_max: usize) -> Vec<SavedOwed> {
        let inflight = self.inflight.iter().map(|held| SavedOwed {
            number: held.owed,
            qos: held.qos,
            retain: held.retain,
            identifiers: held.identifiers.clone(),
            group: held.group.clone(),
            sent: Some((held.packet_id.number(), held.stage)),
            message: held.message.clone(),
        });
        let queued = self.queue.in_memory_from(from).map(Queued::saved);
        // Both are in the order of their numbers, and what is in flight comes first.
        let inflight = inflight.filter(|held| held.number != NOT_OWED && held.number >= from);
        let mut bytes = 0;
        let owed = inflight.chain(queued);
        let some = owed.take_while(|owed| {
            let is_room = bytes < bytes_max;
            bytes += owed.message.as_ref().map_or(1, |message| message.bytes());
            is_room
        });
        some.collect()
    }
}
