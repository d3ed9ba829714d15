//! Records from bytes.
//!
//! Reading is total, and takes only what this version writes: what is left over or out of range is
//! a [`BadRecord`]. The bytes passed a checksum, so one means another version or a mistake.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ::bytes::Bytes;
use bitts_mqtt::{ProtocolVersion, QoS, RetainHandling, SubscriptionOptions};
use smallvec::SmallVec;

use super::bytes::{BadRecord, Reader};
use super::encode::{FORMAT, tag};
use super::{
    Gone, LogId, PageId, Record, SavedIdentity, SavedOwed, SavedPage, SavedPrincipal, SavedSession,
    SavedSubscription, SavedWill, Stage, Taken,
};
use crate::message::Message;
use crate::reason::{Cause, Violation};
use crate::slot::{NameKey, ShardId, ShardSet};
use crate::time::Now;

/// One thing that a unit says.
#[derive(Clone, Debug)]
pub enum Item {
    /// See [`super::encode_restart`].
    Restart {
        /// Shards of the process.
        shards: u8,
    },
    /// See [`super::Entry`].
    Entry {
        /// The message.
        message: Arc<Message>,
        /// Other shards that may want it.
        others: ShardSet,
        /// The shard that is to retain it.
        keeper: Option<ShardId>,
        /// The publisher's identifiers for QoS 2.
        received: Option<(Arc<str>, u16)>,
    },
    /// See [`Taken`].
    Taken(Taken),
    /// See [`Record`].
    Record(Record),
}

/// Where what is read goes.
pub trait Sink {
    /// The next thing, and the shard that said it.
    fn take(&mut self, shard: ShardId, item: Item);

    /// The message of a name, as far as it was read. What refers to one that is not there is passed
    /// over.
    fn find(&mut self, log: LogId) -> Option<Arc<Message>>;
}

/// Reads a unit.
pub fn decode(unit: &[u8], now: Now, sink: &mut impl Sink) -> Result<(), BadRecord> {
    let mut reader = Reader { bytes: unit };
    if reader.byte()? != FORMAT {
        return Err(reader.bad());
    }
    let shard = reader.shard()?;
    let mut parser = Parser { reader, now };
    while !parser.reader.bytes.is_empty() {
        if let Some(item) = parser.item(sink)? {
            sink.take(shard, item);
        }
    }
    Ok(())
}

/// Reads a page.
pub fn decode_page(page: &[u8], now: Now) -> Result<Vec<SavedOwed>, BadRecord> {
    let mut reader = Reader { bytes: page };
    if reader.byte()? != FORMAT {
        return Err(reader.bad());
    }
    let mut parser = Parser { reader, now };
    let mut owed = Vec::new();
    while !parser.reader.bytes.is_empty() {
        owed.extend(parser.owed(&mut NoLog)?);
    }
    Ok(owed)
}

/// Where nothing is referred to by its name.
struct NoLog;

impl Sink for NoLog {
    fn take(&mut self, _: ShardId, _: Item) {}

    fn find(&mut self, _: LogId) -> Option<Arc<Message>> {
        None
    }
}

struct Parser<'a> {
    reader: Reader<'a>,
    now: Now,
}

impl Parser<'_> {
    fn item(&mut self, sink: &mut impl Sink) -> Result<Option<Item>, BadRecord> {
        let tag = self.reader.byte()?;
        let item = match tag {
            tag::RESTART => Item::Restart { shards: self.reader.byte()? },
            tag::ENTRY => self.entry()?,
            tag::TAKEN => Item::Taken(Taken {
                from: self.reader.shard()?,
                to_retain: self.flag()?,
                up_to: self.reader.number()?,
            }),
            _ => return Ok(self.record(tag, sink)?.map(Item::Record)),
        };
        Ok(Some(item))
    }

    fn entry(&mut self) -> Result<Item, BadRecord> {
        let message = self.message()?;
        if message.log.is_none() {
            return Err(self.reader.bad());
        }
        let others = ShardSet(self.reader.number()?);
        let keeper = self.reader.byte()?;
        let keeper = (keeper != u8::MAX).then_some(ShardId(keeper));
        let packet_id: u16 = self.reader.small()?;
        let received = if packet_id == 0 { None } else { Some((self.name()?, packet_id)) };
        Ok(Item::Entry { message, others, keeper, received })
    }

    fn record(&mut self, tag: u8, sink: &mut impl Sink) -> Result<Option<Record>, BadRecord> {
        let record = match tag {
            tag::RETAINED => {
                let (_, message) = self.body(sink)?;
                return Ok(message.map(|message| Record::Retained { message }));
            }
            tag::KEPT => {
                let message = self.message()?;
                if message.log.is_none() {
                    return Err(self.reader.bad());
                }
                Record::Kept { message }
            }
            tag::OWED => {
                let client_id = self.name()?;
                return Ok(self.owed(sink)?.map(|owed| Record::Owed { client_id, owed }));
            }
            tag::PARKED => {
                let (group, number) = (self.name()?, self.reader.number()?);
                let (_, message) = self.body(sink)?;
                return Ok(message.map(|message| Record::Parked { group, number, message }));
            }
            tag::UNPARKED => {
                Record::Unparked { group: self.name()?, number: self.reader.number()? }
            }
            tag::SHADOW => self.shadow()?,
            tag::PAGED => Record::Paged { client_id: self.name()?, page: self.page()? },
            tag::UNPAGED => {
                Record::Unpaged { client_id: self.name()?, page: PageId(self.reader.number()?) }
            }
            tag::SENT => Record::Sent {
                client_id: self.name()?,
                number: self.reader.number()?,
                packet_id: self.reader.small()?,
            },
            tag::RELEASED => {
                Record::Released { client_id: self.name()?, packet_id: self.reader.small()? }
            }
            tag::SETTLED => {
                Record::Settled { client_id: self.name()?, number: self.reader.number()? }
            }
            tag::RECEIVED_RELEASED => Record::ReceivedReleased {
                client_id: self.name()?,
                packet_id: self.reader.small()?,
            },
            _ => self.session_record(tag)?,
        };
        Ok(Some(record))
    }

    fn page(&mut self) -> Result<SavedPage, BadRecord> {
        Ok(SavedPage {
            id: PageId(self.reader.number()?),
            first: self.reader.number()?,
            last: self.reader.number()?,
            count: self.reader.small()?,
            bytes: self.reader.number()?,
        })
    }

    fn shadow(&mut self) -> Result<Record, BadRecord> {
        let thing = self.reader.text()?.into();
        let (is_named, name) = (self.flag()?, self.reader.text()?);
        let state = Bytes::copy_from_slice(self.reader.take()?);
        Ok(Record::Shadow { thing, shadow: is_named.then(|| name.into()), state })
    }

    fn session_record(&mut self, tag: u8) -> Result<Record, BadRecord> {
        let client_id = self.name()?;
        Ok(match tag {
            tag::ATTACHED => Record::SessionAttached {
                client_id,
                version: self.version()?,
                expiry: self.reader.small()?,
                keep_alive: self.reader.small()?,
                version_number: self.reader.small()?,
                identifier: self.identifier()?,
                will: self.will()?,
            },
            tag::DETACHED => Record::SessionDetached {
                client_id,
                cause: self.cause()?.ok_or_else(|| self.reader.bad())?,
                expiry: self.reader.small()?,
                at_unix_ms: self.reader.number()?,
                will_pending: self.flag()?,
            },
            tag::PRINCIPAL => {
                Record::Principal { client_id, principal: Box::new(self.principal()?) }
            }
            tag::ENDED => Record::SessionEnded { client_id },
            tag::WILL_DONE => Record::WillDone { client_id, published: None },
            tag::SUBSCRIBED => {
                let (filter, held) = self.subscription()?;
                let SavedSubscription { options, identifier } = held;
                Record::Subscribed { client_id, filter, options, identifier }
            }
            tag::UNSUBSCRIBED => Record::Unsubscribed { client_id, filter: self.name()? },
            tag::GONE => Record::Gone(Box::new(Gone {
                client_id,
                at_unix_ms: self.reader.number()?,
                cause: self.cause()?,
                keep_alive: self.reader.small()?,
                expiry: self.reader.small()?,
                version: self.version()?,
                version_number: self.reader.small()?,
                identifier: self.identifier()?,
            })),
            tag::SESSION => Record::Session(Box::new(self.session(client_id)?)),
            _ => return Err(self.reader.bad()),
        })
    }

    fn session(&mut self, client_id: Arc<str>) -> Result<SavedSession, BadRecord> {
        let (version, expiry) = (self.version()?, self.reader.small()?);
        let (keep_alive, version_number) = (self.reader.small()?, self.reader.small()?);
        let identifier = self.identifier()?;
        let detached = match self.cause()? {
            Some(cause) => Some((self.reader.number()?, cause)),
            None => None,
        };
        let will = self.will()?;
        let mut subscriptions = BTreeMap::new();
        for _ in 0..self.reader.number()? {
            let (filter, held) = self.subscription()?;
            subscriptions.insert(filter, held);
        }
        let mut received = BTreeSet::new();
        for _ in 0..self.reader.number()? {
            received.insert(self.reader.small()?);
        }
        let (owed, pages, principal) = (VecDeque::new(), VecDeque::new(), None);
        Ok(SavedSession {
            client_id,
            version,
            expiry,
            keep_alive,
            version_number,
            identifier,
            detached,
            principal,
            will,
            subscriptions,
            received,
            owed,
            pages,
        })
    }

    fn principal(&mut self) -> Result<SavedPrincipal, BadRecord> {
        let flags = self.reader.byte()?;
        if flags >> 2 != 0 {
            return Err(self.reader.bad());
        }
        let source = self.reader.take()?;
        let source = if let Ok(octets) = <[u8; 4]>::try_from(source) {
            IpAddr::from(octets)
        } else {
            IpAddr::from(<[u8; 16]>::try_from(source).map_err(|_| self.reader.bad())?)
        };
        Ok(SavedPrincipal {
            source,
            local_port: self.reader.small()?,
            identity: self.identity()?,
            is_secure: flags & 1 != 0,
            names_client: flags & 2 != 0,
        })
    }

    fn identity(&mut self) -> Result<SavedIdentity, BadRecord> {
        Ok(match self.reader.byte()? {
            0 => SavedIdentity::Anonymous,
            1 => SavedIdentity::Certificate(self.reader.array()?),
            2 => SavedIdentity::AccessKey(self.name()?),
            3 => SavedIdentity::User(self.name()?),
            4 => {
                let principal_id = self.reader.text()?.into();
                let mut documents = Vec::new();
                for _ in 0..self.reader.number()? {
                    documents.push(self.name()?);
                }
                SavedIdentity::Authorizer { principal_id, documents }
            }
            _ => return Err(self.reader.bad()),
        })
    }

    fn identifier(&mut self) -> Result<u128, BadRecord> {
        self.reader.array().map(u128::from_le_bytes)
    }

    fn name(&mut self) -> Result<Arc<str>, BadRecord> {
        self.reader.text().map(Arc::from)
    }

    fn flag(&mut self) -> Result<bool, BadRecord> {
        match self.reader.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.reader.bad()),
        }
    }

    fn version(&mut self) -> Result<ProtocolVersion, BadRecord> {
        match self.reader.byte()? {
            4 => Ok(ProtocolVersion::V3_1_1),
            5 => Ok(ProtocolVersion::V5),
            _ => Err(self.reader.bad()),
        }
    }

    fn cause(&mut self) -> Result<Option<Cause>, BadRecord> {
        Ok(Some(match self.reader.byte()? {
            0 => return Ok(None),
            1 => Cause::ClientInitiated,
            2 => Cause::ClientError(Violation::Earlier),
            3 => Cause::AuthError,
            4 => Cause::ConnectionLost,
            5 => Cause::DuplicateClientId,
            6 => Cause::KeepAliveTimeout,
            7 => Cause::ServerInitiated,
            8 => Cause::ApiInitiated,
            9 => Cause::ForbiddenAccess,
            10 => Cause::WebSocketTtlExpiration,
            11 => Cause::CustomAuthTtlExpiration,
            _ => return Err(self.reader.bad()),
        }))
    }

    fn qos(&mut self, number: u8) -> Result<QoS, BadRecord> {
        match number & 3 {
            0 => Ok(QoS::Zero),
            1 => Ok(QoS::One),
            2 => Ok(QoS::Two),
            _ => Err(self.reader.bad()),
        }
    }

    fn subscription(&mut self) -> Result<(Arc<str>, SavedSubscription), BadRecord> {
        let filter = self.name()?;
        let flags = self.reader.byte()?;
        let options = SubscriptionOptions {
            qos: self.qos(flags)?,
            no_local: flags & 4 != 0,
            retain_as_published: flags & 8 != 0,
            retain_handling: match flags >> 4 {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(self.reader.bad()),
            },
        };
        Ok((filter, SavedSubscription { options, identifier: self.reader.small()? }))
    }

    fn will(&mut self) -> Result<Option<Box<SavedWill>>, BadRecord> {
        if !self.flag()? {
            return Ok(None);
        }
        let message = self.message()?;
        let delay_seconds = self.reader.small()?;
        let expiry = self.reader.number()?;
        let message_expiry_interval = match expiry.checked_sub(1) {
            Some(seconds) => Some(u32::try_from(seconds).map_err(|_| self.reader.bad())?),
            None => None,
        };
        Ok(Some(Box::new(SavedWill { message, delay_seconds, message_expiry_interval })))
    }

    /// What a session is owed; none where the message is not there.
    fn owed(&mut self, sink: &mut impl Sink) -> Result<Option<SavedOwed>, BadRecord> {
        let number = self.reader.number()?;
        let flags = self.reader.byte()?;
        let qos = self.qos(flags)?;
        let stage = match flags >> 4 {
            0 => None,
            1 => Some(Stage::Published),
            2 => Some(Stage::Released),
            _ => return Err(self.reader.bad()),
        };
        let sent = match stage {
            Some(stage) => Some((self.reader.small()?, stage)),
            None => None,
        };
        let group = if flags & 8 == 0 { None } else { Some(self.name()?) };
        let mut identifiers = SmallVec::new();
        for _ in 0..self.reader.number()? {
            identifiers.push(self.reader.small()?);
        }
        let (is_named, message) = self.body(sink)?;
        if is_named && message.is_none() {
            return Ok(None);
        }
        let retain = flags & 4 != 0;
        Ok(Some(SavedOwed { number, qos, retain, identifiers, group, sent, message }))
    }

    /// Whether a message was referred to, and the message, if it is there.
    fn body(&mut self, sink: &mut impl Sink) -> Result<(bool, Option<Arc<Message>>), BadRecord> {
        match self.reader.byte()? {
            0 => Ok((false, None)),
            1 => {
                let log = LogId { shard: self.reader.shard()?, number: self.reader.number()? };
                Ok((true, sink.find(log)))
            }
            2 => Ok((true, Some(self.message()?))),
            _ => Err(self.reader.bad()),
        }
    }

    fn message(&mut self) -> Result<Arc<Message>, BadRecord> {
        let flags = self.reader.byte()?;
        let qos = self.qos(flags)?;
        if flags >> 5 != 0 {
            return Err(self.reader.bad());
        }
        let log = if flags & 16 == 0 {
            None
        } else {
            Some(LogId { shard: self.reader.shard()?, number: self.reader.number()? })
        };
        let expires_at =
            if flags & 8 == 0 { None } else { Some(self.now.moment_of(self.reader.number()?)) };
        let accepted_unix_ms = self.reader.number()?;
        let publisher = self.reader.array()?;
        Ok(Arc::new(Message {
            qos,
            retain: flags & 4 != 0,
            log,
            expires_at,
            accepted_unix_ms,
            publisher: NameKey(u64::from_le_bytes(publisher)),
            topic: self.reader.text()?.into(),
            properties: self.reader.take()?.into(),
            payload: Bytes::copy_from_slice(self.reader.take()?),
        }))
    }
}

#[cfg(test)]
mod tests {
    use bitts_mqtt::SubscriptionOptions;
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Batch, Entry, Lsn, encode, encode_restart};
    use crate::slot::Slot;
    use crate::time::Moment;

    /// What was read, and the messages that may be referred to.
    #[derive(Default)]
    struct Read {
        items: Vec<String>,
        log: BTreeMap<LogId, Arc<Message>>,
    }

    impl Sink for Read {
        fn take(&mut self, shard: ShardId, item: Item) {
            if let Item::Entry { message, .. } = &item {
                self.log.extend(message.log.map(|log| (log, Arc::clone(message))));
            }
            self.items.push(format!("{} {item:?}", shard.0));
        }

        fn find(&mut self, log: LogId) -> Option<Arc<Message>> {
            self.log.get(&log).cloned()
        }
    }

    const NOW: Now = Now { moment: Moment(5_000), unix_ms: 1_000_000 };

    fn message(log: Option<LogId>) -> Arc<Message> {
        Arc::new(Message {
            topic: "lamps/1".into(),
            payload: "on".into(),
            properties: [1, 2].into(),
            qos: QoS::Two,
            retain: true,
            publisher: NameKey(u64::MAX),
            expires_at: Some(Moment(9_000)),
            accepted_unix_ms: 7,
            log,
        })
    }

    const OPTIONS: SubscriptionOptions = SubscriptionOptions {
        qos: QoS::One,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::SendIfNew,
    };
    const LOG: Option<LogId> = Some(LogId { shard: ShardId(2), number: 300 });

    fn owed(message: Option<Arc<Message>>, sent: Option<(u16, Stage)>) -> Record {
        let owed = SavedOwed {
            number: 77,
            qos: QoS::Two,
            retain: true,
            identifiers: SmallVec::from_slice(&[5, 268_435_455]),
            group: Some("$share/g/lamps/+".into()),
            sent,
            message,
        };
        Record::Owed { client_id: "lamp".into(), owed }
    }

    fn will() -> Option<Box<SavedWill>> {
        let (message, delay_seconds, message_expiry_interval) = (message(None), 3, Some(0));
        Some(Box::new(SavedWill { message, delay_seconds, message_expiry_interval }))
    }

    const PAGE: SavedPage =
        SavedPage { id: PageId(u64::MAX), first: 7, last: 9, count: 3, bytes: 1 << 40 };

    fn session() -> SavedSession {
        let mut session = SavedSession::new("lamp".into());
        session.detached = Some((4, Cause::ClientError(Violation::Earlier)));
        session.will = will();
        let held = SavedSubscription { options: OPTIONS, identifier: 5 };
        session.subscriptions.insert("lamps/#".into(), held);
        session.received.extend([1, 65_535]);
        session
    }

    fn gone() -> Gone {
        Gone {
            client_id: "lamp".into(),
            at_unix_ms: 8,
            cause: None,
            keep_alive: 60,
            expiry: 0,
            version: ProtocolVersion::V3_1_1,
            version_number: 9,
            identifier: 1 << 127,
        }
    }

    fn principals() -> impl Iterator<Item = Record> {
        let (key, user): (Arc<str>, Arc<str>) = ("AKID".into(), "ann".into());
        let documents = vec!["{}".into(), "".into()];
        let identities = [
            SavedIdentity::Anonymous,
            SavedIdentity::Certificate([7; 32]),
            SavedIdentity::AccessKey(key),
            SavedIdentity::User(user),
            SavedIdentity::Authorizer { principal_id: "token".into(), documents },
        ];
        let sources = ["192.0.2.1", "2001:db8::1"].map(|it| it.parse().unwrap());
        let named = (0..).zip(identities).map(move |(number, identity)| SavedPrincipal {
            identity,
            source: sources[number % 2],
            local_port: 65_535,
            is_secure: number % 2 == 0,
            names_client: number % 3 == 0,
        });
        let client_id: Arc<str> = "lamp".into();
        named.map(move |principal| Record::Principal {
            client_id: Arc::clone(&client_id),
            principal: Box::new(principal),
        })
    }

    fn every_record() -> Vec<Record> {
        let client_id: Arc<str> = "lamp".into();
        let filter: Arc<str> = "$share/g/lamps/+".into();
        let (client, group) = (|| Arc::clone(&client_id), || Arc::clone(&filter));
        let mut records = vec![
            Record::SessionAttached {
                client_id: client(),
                version: ProtocolVersion::V3_1_1,
                expiry: u32::MAX,
                keep_alive: 60,
                version_number: 9,
                identifier: u128::MAX,
                will: will(),
            },
            Record::SessionDetached {
                client_id: client(),
                cause: Cause::KeepAliveTimeout,
                expiry: 7,
                at_unix_ms: u64::MAX,
                will_pending: true,
            },
            Record::SessionEnded { client_id: client() },
            Record::Gone(Box::new(gone())),
            Record::WillDone { client_id: client(), published: None },
            Record::Subscribed {
                client_id: client(),
                filter: group(),
                options: OPTIONS,
                identifier: 5,
            },
            Record::Unsubscribed { client_id: client(), filter: group() },
            Record::ReceivedReleased { client_id: client(), packet_id: 65_535 },
            owed(Some(message(LOG)), None),
            owed(Some(message(None)), Some((4, Stage::Published))),
            owed(None, Some((4, Stage::Released))),
            Record::Paged { client_id: client(), page: PAGE },
            Record::Unpaged { client_id: client(), page: PAGE.id },
            Record::Sent { client_id: client(), number: 77, packet_id: 4 },
            Record::Released { client_id: client(), packet_id: 4 },
            Record::Settled { client_id: client(), number: 77 },
            Record::Retained { message: message(LOG) },
            Record::Retained { message: message(None) },
            Record::Parked { group: group(), number: 8, message: message(LOG) },
            Record::Unparked { group: group(), number: 8 },
            Record::Session(Box::new(session())),
            Record::Kept { message: message(LOG) },
            Record::Shadow { thing: "lamp".into(), shadow: None, state: "1".into() },
            Record::Shadow { thing: "lamp".into(), shadow: Some("x".into()), state: "".into() },
        ];
        records.extend(principals());
        records
    }

    fn every_unit() -> Vec<u8> {
        let entry = Entry {
            slot: Slot(1),
            lsn: Lsn(1),
            message: message(LOG),
            received: Some(("lamp".into(), 9)),
            others: ShardSet(5),
            keeper: Some(ShardId(3)),
        };
        let batch = Batch { slot: Slot(1), lsn: Lsn(1), records: every_record().into() };
        let taken = Taken { from: ShardId(1), to_retain: true, up_to: 128 };
        let mut unit = Vec::new();
        encode(ShardId(2), NOW, &[taken], &[batch], &[entry], &mut unit);
        unit
    }

    #[test]
    fn every_record_is_read_as_it_was_written() {
        let mut read = Read::default();
        decode(&every_unit(), NOW, &mut read).unwrap();
        let records = every_record();
        assert_eq!(read.items.len(), records.len() + 2);
        for (read, written) in read.items.iter().skip(2).zip(records) {
            assert_eq!(*read, format!("2 {:?}", Item::Record(written)));
        }
    }

    #[test]
    fn another_process_reads_the_same_points_of_time() {
        let mut read = Read::default();
        let later = Now { moment: Moment(100), unix_ms: NOW.unix_ms + 1_000 };
        decode(&every_unit(), later, &mut read).unwrap();
        // It expired four seconds after `NOW`, of which one has passed.
        let expected = Some(Moment(3_100));
        assert!(read.log.values().all(|message| message.expires_at == expected));
    }

    #[test]
    fn a_unit_that_is_cut_or_of_another_format_is_refused() {
        let mut unit = every_unit();
        for len in 0..unit.len() {
            let mut read = Read::default();
            let whole = decode(&unit[..len], NOW, &mut read).is_ok();
            // Only between two records the rest may be missing: the length of a unit is known.
            assert!(!whole || read.items.len() <= every_record().len() + 2);
        }
        unit[0] = FORMAT + 1;
        assert!(decode(&unit, NOW, &mut Read::default()).is_err());
        let mut restart = Vec::new();
        encode_restart(3, &mut restart);
        restart.push(0);
        assert!(decode(&restart, NOW, &mut Read::default()).is_err());
    }

    proptest! {
        #[test]
        fn reading_is_total(
            at in 0..100_usize,
            garbage in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut unit = every_unit();
            let at = at * unit.len() / 100;
            let end = (at + garbage.len()).min(unit.len());
            unit.splice(at..end, garbage);
            let mut read = Read::default();
            let whole = decode(&unit, NOW, &mut read).is_ok();
            prop_assert!(whole || read.items.len() <= unit.len());
        }
    }
}
