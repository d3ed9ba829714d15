//! What a journal adds up to, given to the shards that own it.
//!
//! Every shard is new. Where the process had another number of shards, names are in the same slots
//! and on other shards. What becomes durable on the way is left in the outboxes.

use std::sync::Arc;

use bitts_aws::shadow::{ShadowId, parse_request_topic};

use crate::input::Input;
use crate::outbox::Outbox;
use crate::recover::{Recovered, Untaken};
use crate::shard::Shard;
use crate::slot::{Placement, ShardId, Slot};
use crate::time::Now;

/// A shadow that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadShadow {
    /// Its thing.
    pub thing: Box<str>,
}

/// Gives every shard what it owns, with an outbox for each.
pub fn restore(
    shards: &mut [Shard],
    outs: &mut [Outbox],
    recovered: Recovered,
    placement: Placement,
    now: Now,
) -> Result<(), BadShadow> {
    let before = placement.with_shards(recovered.shards);
    let mut owned: Vec<Vec<_>> = shards.iter().map(|_| Vec::new()).collect();
    for session in recovered.sessions {
        if let Some(owned) = owned.get_mut(usize::from(placement.owner_of(&session.client_id).0)) {
            owned.push(session);
        }
    }
    for ((shard, out), sessions) in shards.iter_mut().zip(outs.iter_mut()).zip(owned) {
        shard.restore_sessions(now, sessions, out);
    }
    exchange(shards, outs, now);
    for shard in shards.iter_mut() {
        shard.restore_log(recovered.next_entry);
    }
    for message in recovered.retained {
        if let Some((shard, out)) = owner(shards, outs, placement, &message.topic) {
            shard.restore_retained(message, false, out);
        }
    }
    for (thing, name, state) in recovered.shadows {
        let Some((shard, _)) = owner(shards, outs, placement, &thing) else { continue };
        let id = ShadowId::new(&thing, name.as_deref()).ok();
        if id.is_none_or(|id| shard.restore_shadow(now, &id, state).is_err()) {
            return Err(BadShadow { thing });
        }
    }
    for gone in recovered.gone {
        if let Some((shard, _)) = owner(shards, outs, placement, &gone.client_id) {
            shard.restore_gone(now, gone);
        }
    }
    for (group, parked) in recovered.parked {
        if let Some((shard, out)) = owner(shards, outs, placement, &group) {
            shard.restore_parked(&group, parked, out);
        }
    }
    // What is published about a request comes behind what was about earlier ones.
    let is_request = |it: &Untaken| parse_request_topic(&it.message.topic).is_some();
    let (requests, messages): (Vec<_>, Vec<_>) =
        recovered.untaken.into_iter().partition(is_request);
    for untaken in messages.iter().chain(&requests) {
        if untaken.to_retain
            && let Some((shard, out)) = owner(shards, outs, placement, &untaken.message.topic)
        {
            shard.restore_retained(Arc::clone(&untaken.message), true, out);
        }
        let is_owed = |slot: Slot| untaken.others.contains(before.shard_of(slot));
        for (shard, out) in shards.iter_mut().zip(outs.iter_mut()) {
            shard.restore_message(now, &untaken.message, &is_owed, out);
        }
    }
    exchange(shards, outs, now);
    Ok(())
}

/// The shard that owns a name, and its outbox.
fn owner<'a>(
    shards: &'a mut [Shard],
    outs: &'a mut [Outbox],
    placement: Placement,
    name: &str,
) -> Option<(&'a mut Shard, &'a mut Outbox)> {
    let at = usize::from(placement.owner_of(name).0);
    shards.get_mut(at).zip(outs.get_mut(at))
}

/// Takes mail to where it goes, until there is none. Nothing of it waits for the store: all that
/// comes of a restart is durable at once.
fn exchange(shards: &mut [Shard], outs: &mut [Outbox], now: Now) {
    loop {
        let mut mail = Vec::new();
        for (from, out) in (0_u8..).zip(outs.iter_mut()) {
            let parcel = |(to, parcel)| (to, Input::Parcel { from: ShardId(from), parcel });
            mail.extend(out.parcels.drain(..).map(parcel));
            mail.extend(out.gated_parcels.drain(..).map(|(_, to, it)| parcel((to, it))));
            let gated = out.gated_messages.drain(..).map(|(_, to, message)| (to, message));
            for (to, message) in out.messages.drain(..).chain(gated) {
                mail.extend(to.iter().map(|to| (to, Input::Message(Arc::clone(&message)))));
            }
        }
        if mail.is_empty() {
            return;
        }
        for (to, input) in mail {
            let at = usize::from(to.0);
            if let Some((shard, out)) = shards.get_mut(at).zip(outs.get_mut(at)) {
                shard.handle(now, input, out);
            }
        }
    }
}
