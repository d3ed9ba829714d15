//! Every bound of the core, with its unit, its default and what happens at it.
//!
//! Bounds on bytes before a packet exists (buffers, sockets) are the server's, in its `config`.

use bitts_aws::shadow::ShadowLimits;

/// The bounds of one server; the defaults are those of the `open` profile.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest packet a client may send, in bytes, announced in CONNACK. Default 16 MiB. A larger
    /// one is refused at its header: 0x95 or close.
    pub packet_bytes_max: u32,
    /// Longest Topic Name or Topic Filter, in bytes. Default 65,535. Topic: 0x90 or close; filter:
    /// SUBACK 0x8F or 0x80.
    pub topic_bytes_max: usize,
    /// Most levels of a Topic Name or Topic Filter. Default 128. As above.
    pub topic_levels_max: usize,
    /// Most Topic Filters in one SUBSCRIBE. Default 1,024. At the limit every filter gets 0x97 or
    /// 0x80.
    pub filters_per_subscribe_max: usize,
    /// Most subscriptions of one session. Default 10,000. At the limit SUBACK 0x97 or 0x80.
    pub subscriptions_per_session_max: usize,
    /// Most distinct wildcard shapes of one session. Default 64. At the limit SUBACK 0x97 or 0x80.
    pub shapes_per_session_max: usize,
    /// Most distinct wildcard shapes of the server. Default 4,096. At the limit SUBACK 0x97 or
    /// 0x80.
    pub shapes_max: usize,
    /// Longest Client Identifier, in bytes. Default 1,024. Longer: CONNACK 0x85 or 2.
    pub client_id_bytes_max: usize,
    /// Receive Maximum offered to clients, in messages. Default 1,024. More unacknowledged QoS 1
    /// and 2 from an MQTT 5 client: 0x93; MQTT 3.1.1 has no such promise and is bounded by its
    /// identifiers.
    pub receive_maximum: u16,
    /// Most messages in flight to one client, whatever its Receive Maximum. Default 1,024. The rest
    /// waits in the session's queue.
    pub inflight_max: u16,
    /// Topic Alias Maximum, both directions, in aliases. Default 32. Above: 0x94.
    pub topic_alias_maximum: u16,
    /// Bytes of all topics a client's aliases stand for. Default 64 KiB. Above: 0x97.
    pub topic_alias_bytes_max: usize,
    /// Messages waiting in one session. Default 100,000. At the limit the new message is dropped
    /// for this session and counted.
    pub queued_messages_max: usize,
    /// Bytes waiting in one session. Default 256 MiB. As above.
    pub queued_bytes_max: usize,
    /// Bytes waiting in all sessions of a shard. Default 4 GiB over all shards. As above.
    pub queued_bytes_total_max: usize,
    /// Bytes of memory that messages waiting in all sessions of a shard hold. Default 64 MiB over
    /// all shards. Beyond, queues go to disk but for their heads, and come back page by page;
    /// without a data directory it bounds nothing.
    pub queued_memory_max: usize,
    /// Longest Session Expiry Interval, in seconds. Default 30 days. Longer ones are capped and the
    /// client is told; it is also the expiry of persistent 3.1.1 sessions.
    pub session_expiry_max: u32,
    /// Retained messages of the server, in messages. Default 1,000,000. At the limit
    /// PUBACK or PUBREC 0x97, HTTP 429.
    pub retained_messages_max: usize,
    /// Bytes of all retained messages of the server. Default 1 GiB. As above.
    pub retained_bytes_max: usize,
    /// Connections of a shard. Default 1,000,000 over all shards. At the limit CONNACK 0x89 or 3.
    pub connections_max: usize,
    /// Sessions of a shard. Default 10,000,000 over all shards. At the limit CONNACK 0x97 or 3.
    pub sessions_max: usize,
    /// Messages a `$share` group keeps while none of its members is connected. Default 100,000. At
    /// the limit the new message is dropped and counted.
    pub group_queued_messages_max: usize,
    /// Bytes that `$share` groups of a shard keep, in memory. Default 1 GiB over all shards. As
    /// above.
    pub group_queued_bytes_total_max: usize,
    /// Members of one `$share` group. Default 10,000. At the limit SUBACK 0x97 or 0x80.
    pub group_members_max: usize,
    /// How long GetConnection remembers a disconnect, in seconds. Default 1,800 (contract GC-4).
    pub disconnect_memory_seconds: u64,
    /// Disconnected client ids a shard remembers without a session. Default 100,000 over all
    /// shards. At the limit the oldest is forgotten.
    pub disconnects_remembered_max: usize,
    /// The sections of a shadow together as compact JSON, in bytes. Default 8,192, AWS's. Larger:
    /// 413.
    pub shadow_document_bytes_max: usize,
    /// Levels of a section of a shadow. Default 6, AWS's; deeper: 400.
    pub shadow_depth_max: usize,
    /// Bytes of all shadows of a shard in their durable form. Default 1 GiB over all shards. At the
    /// limit updates are refused: 429.
    pub shadow_bytes_max: usize,
    /// Requests of one connection to shadows that are not answered. Default 1,024; AWS 10. More are
    /// refused: 429.
    pub shadow_requests_in_flight_max: usize,
    /// Bytes of answers about shadows that wait for the store. Default 64 MiB over all shards. At
    /// the limit requests are refused: 429.
    pub shadow_answer_bytes_max: usize,
    /// Direct messages of a shard that wait for their receivers. Default 100,000 over all shards.
    /// At the limit another one is refused: 429.
    pub direct_messages_waiting_max: usize,
    /// Retained messages one step of answering a SUBSCRIBE looks at. Default 512; the rest follows
    /// as the reader takes them.
    pub retained_step: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes_max: 16 << 20,
            topic_bytes_max: 65_535,
            topic_levels_max: 128,
            filters_per_subscribe_max: 1_024,
            subscriptions_per_session_max: 10_000,
            shapes_per_session_max: 64,
            shapes_max: 4_096,
            client_id_bytes_max: 1_024,
            receive_maximum: 1_024,
            inflight_max: 1_024,
            topic_alias_maximum: 32,
            topic_alias_bytes_max: 64 << 10,
            queued_messages_max: 100_000,
            queued_bytes_max: 256 << 20,
            queued_bytes_total_max: 4 << 30,
            queued_memory_max: 64 << 20,
            session_expiry_max: 30 * 24 * 3600,
            retained_messages_max: 1_000_000,
            retained_bytes_max: 1 << 30,
            connections_max: 1_000_000,
            sessions_max: 10_000_000,
            group_queued_messages_max: 100_000,
            group_queued_bytes_total_max: 1 << 30,
            group_members_max: 10_000,
            disconnect_memory_seconds: 1_800,
            disconnects_remembered_max: 100_000,
            shadow_document_bytes_max: 8_192,
            shadow_depth_max: 6,
            shadow_bytes_max: 1 << 30,
            shadow_requests_in_flight_max: 1_024,
            shadow_answer_bytes_max: 64 << 20,
            direct_messages_waiting_max: 100_000,
            retained_step: 512,
        }
    }
}

impl Limits {
    /// The part of the server's limits that one of `shards` shards may use.
    #[must_use]
    pub fn per_shard(mut self, shards: u8) -> Self {
        let shards = usize::from(shards.max(1));
        self.queued_bytes_total_max = self.queued_bytes_total_max.div_ceil(shards);
        self.queued_memory_max = self.queued_memory_max.div_ceil(shards);
        self.group_queued_bytes_total_max = self.group_queued_bytes_total_max.div_ceil(shards);
        self.connections_max = self.connections_max.div_ceil(shards);
        self.sessions_max = self.sessions_max.div_ceil(shards);
        self.disconnects_remembered_max = self.disconnects_remembered_max.div_ceil(shards);
        self.shadow_bytes_max = self.shadow_bytes_max.div_ceil(shards);
        self.shadow_answer_bytes_max = self.shadow_answer_bytes_max.div_ceil(shards);
        self.direct_messages_waiting_max = self.direct_messages_waiting_max.div_ceil(shards);
        self
    }

    /// The bounds of one shadow.
    pub(crate) fn shadow(&self) -> ShadowLimits {
        ShadowLimits {
            document_bytes_max: self.shadow_document_bytes_max,
            depth_max: self.shadow_depth_max,
            ..ShadowLimits::default()
        }
    }
}
