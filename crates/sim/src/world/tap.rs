//! What crosses the wire, seen when the server writes it: rules that hold for every packet.

use std::collections::{BTreeMap, BTreeSet};

use crate::machine::{Link, Machine};
use crate::packet::{self, Kind, Packet, Version};

/// One connection on the wire.
#[derive(Debug)]
pub(crate) struct Tapped {
    pub(crate) client: usize,
    client_id: String,
    version: Version,
    receive_maximum: usize,
    bytes: Vec<u8>,
    has_connack: bool,
    has_disconnect: bool,
    /// Packet Identifiers that the client has not acknowledged.
    pub(crate) open: BTreeSet<u16>,
    is_over: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    links: BTreeMap<Link, Tapped>,
}

impl Tap {
    pub(crate) fn open(
        &mut self,
        link: Link,
        client: usize,
        client_id: &str,
        version: Version,
        receive_maximum: u16,
    ) {
        self.links.insert(
            link,
            Tapped {
                client,
                client_id: client_id.to_owned(),
                version,
                receive_maximum: usize::from(receive_maximum),
                bytes: Vec::new(),
                has_connack: false,
                has_disconnect: false,
                open: BTreeSet::new(),
                is_over: false,
            },
        );
    }

    /// The client acknowledged.
    pub(crate) fn acknowledged(&mut self, link: Link, packet_id: Option<u16>) {
        if let (Some(tapped), Some(packet_id)) = (self.links.get_mut(&link), packet_id) {
            tapped.open.remove(&packet_id);
        }
    }

    /// Takes what the server wrote since the last call, checked: client, connection, packet.
    pub(crate) fn take(
        &mut self,
        machine: &mut Machine,
    ) -> Result<Vec<(usize, Link, Packet)>, String> {
        let mut taken = Vec::new();
        let links: Vec<Link> =
            self.links.iter().filter(|(_, held)| !held.is_over).map(|(link, _)| *link).collect();
        for link in links {
            let bytes = machine.read(link);
            let ended = machine.ended(link).is_some();
            let Some(tapped) = self.links.get_mut(&link) else { continue };
            tapped.bytes.extend_from_slice(&bytes);
            while let Some(packet) = tapped.next()? {
                taken.push((tapped.client, link, packet));
            }
            tapped.is_over = ended;
        }
        self.check_connacks(machine, &taken)?;
        Ok(taken)
    }

    /// Whoever is told that it is connected is the only one with its Client Identifier.
    fn check_connacks(
        &self,
        machine: &Machine,
        taken: &[(usize, Link, Packet)],
    ) -> Result<(), String> {
        for (client, link, packet) in taken {
            if packet.kind != Kind::ConnAck || packet.code != 0 {
                continue;
            }
            let other = self.links.iter().find(|(other, held)| {
                held.client == *client
                    && *other != link
                    && held.has_connack
                    && machine.is_heard(**other)
            });
            if let Some((other, _)) = other
                && machine.is_heard(*link)
            {
                return Err(format!(
                    "two connections of client {client}: {other:?} is open while {link:?} opens"
                ));
            }
        }
        Ok(())
    }
}

impl Tapped {
    fn next(&mut self) -> Result<Option<Packet>, String> {
        let who = &self.client_id;
        let len = packet::next_len(&self.bytes).map_err(|broken| broken.0)?;
        let Some(len) = len else { return Ok(None) };
        let bytes: Vec<u8> = self.bytes.drain(..len).collect();
        let packet = packet::decode(&bytes, self.version)
            .map_err(|broken| format!("{who} is sent {bytes:02x?}: {}", broken.0))?;
        if self.is_over || self.has_disconnect {
            return Err(format!("{who} is sent {packet} behind the end of its connection"));
        }
        match packet.kind {
            Kind::ConnAck if self.has_connack => return Err(format!("{who} is sent two CONNACKs")),
            Kind::ConnAck => self.has_connack = true,
            _ if !self.has_connack => {
                return Err(format!("{who} is sent {packet} before its CONNACK"));
            }
            Kind::Disconnect => self.has_disconnect = true,
            Kind::Publish => {
                if let Some(packet_id) = packet.packet_id
                    && !self.open.insert(packet_id)
                {
                    return Err(format!("{who} is sent {packet} while its identifier is in use"));
                }
                if self.open.len() > self.receive_maximum {
                    return Err(format!("{who} is sent {packet} above its Receive Maximum"));
                }
            }
            _ => {}
        }
        Ok(Some(packet))
    }
}
