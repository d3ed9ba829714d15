//! The core of Bitts: sessions, routing, delivery and ownership.
//!
//! [`Shard::handle`] applies one [`Input`] and appends what must happen next to an [`Outbox`]. It
//! has no clock, no socket, no disk, no thread and no randomness it was not given; `bitts-server`
//! runs one shard per core, `bitts-sim` runs many from a seed. Start reading in `shard.rs`.

mod checkpoint;
pub mod command;
pub mod data_plane;
mod direct;
mod hold_off;
mod input;
mod limits;
mod message;
mod needs;
mod outbox;
mod paging;
mod permit;
mod presence;
mod profile;
mod publish;
mod rates;
mod reason;
pub mod record;
pub mod recover;
mod reserved;
mod restore;
mod route;
mod select;
mod session;
mod shard;
mod slot;
mod time;
mod timers;

pub use direct::{DirectMessage, NotDelivered};
pub use input::{ConnId, Input, Loss, Origin, Proof, ReplyId};
pub use limits::Limits;
pub use message::{Message, NewMessage};
pub use needs::{Need, NeededAction};
pub use outbox::{Close, Frame, Member, Outbox, Page, Parcel, SessionRef};
pub use profile::Profile;
pub use rates::{AccountRate, AccountRates, Bucket, Rates, Window};
pub use reason::{Cause, Dropped, Stats, Violation};
pub use record::{Lsn, PageId};
pub use reserved::{Asker, ShadowRequest};
pub use restore::{BadShadow, restore};
pub use route::Interest;
pub use select::{Selected, Selector};
pub use session::assigned_client_id;
pub use shard::Shard;
pub use slot::{NameKey, Placement, SHARDS_MAX, SLOTS, ShardId, ShardSet, Slot};
pub use time::{Moment, Now};
