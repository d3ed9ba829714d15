//! What must hold in every world; each checker is a file.

mod delivery;
mod durable;
mod events;
mod left;
mod order;
mod replay;
mod retained;
mod services;
mod wills;

use super::World;

pub(super) use left::nothing_is_left;
pub(super) use services::directs;
pub(super) use wills::wills;

/// What must hold at any moment.
pub(super) fn always(world: &mut World) -> Result<(), String> {
    replay::log_tells_sessions(world).map(drop)
}

/// What must hold once everything has come to rest.
pub(super) fn all(world: &mut World) -> Result<(), String> {
    wills::at_most_once(world)?;
    delivery::exactly_once(world)?;
    delivery::at_least_once(world)?;
    delivery::shared_once(world)?;
    order::in_order(world)?;
    retained::last_one_wins(world)?;
    events::tell_the_story(world)?;
    services::versions_rise(world)?;
    services::answered_once(world)?;
    left::gauges_are_true(world)?;
    replay::log_tells_all(world)
}
