//! Many clients put off at once: `POST /bitts/v1/connections/disconnect`, and the operation that it
//! begins.
//!
//! First everything that is selected is noted with its session, in steps, then each is put off at
//! the pace asked for and only if its session is still that one; who came back meanwhile stays. An
//! operation is watched with GET and ended with DELETE of `/bitts/v1/operations/{id}`.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitts_aws::error::{ApiError, ErrorKind};
use bitts_broker::command::{Command, Further, Reply};
use bitts_broker::{Selected, Selector, ShardId};
use serde::{Deserialize, Serialize};

use super::Front;
use super::answer::{Answer, Trace};
use super::data_plane::{HOLD_OFF_SECONDS_MAX, unavailable};
use crate::mesh::Mesh;

/// Most clients put off in a second that can be asked for.
const RATE_MAX: u32 = 1_000_000;
/// Operations that are remembered; at the limit the oldest that is over is forgotten.
const OPERATIONS_MAX: usize = 1_000;
/// Clients that a dry run names.
const NAMED_MAX: usize = 100;
/// How often those that are due are put off.
const TICK: Duration = Duration::from_millis(10);
/// Where operations are.
pub(super) const OPERATIONS: &str = "/bitts/v1/operations/";

/// What is asked. Every member has a default, but at least one of those of `match` is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    #[serde(rename = "match")]
    selector: AskedSelector,
    clean_session: bool,
    prevent_will_message: bool,
    dry_run: bool,
    /// Clients a second; default as fast as they go.
    rate_per_second: Option<u32>,
    /// 0 to 1: the part of the time between two clients by which each is early or late.
    jitter: f64,
    hold_off_seconds: u32,
    server_reference: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct AskedSelector {
    client_id_pattern: Option<String>,
    prefix: Option<String>,
    connected: Option<bool>,
    protocol: Option<String>,
    address: Option<String>,
    thing_name: Option<String>,
    principal: Option<String>,
}

/// How far an operation is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    operation_id: String,
    /// `RUNNING`, `DONE` or `ABORTED`.
    state: &'static str,
    /// Clients that were selected.
    matched: u64,
    /// Of these, put off.
    disconnected: u64,
    /// Gone by themselves, or back with another session.
    skipped: u64,
    /// Still to come.
    remaining: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DryRun {
    matched: u64,
    /// The first of them.
    client_ids: Vec<String>,
}

/// An operation under way, or over.
#[derive(Debug)]
struct Operation {
    id: String,
    matched: u64,
    disconnected: AtomicU64,
    skipped: AtomicU64,
    is_aborted: AtomicBool,
    is_over: AtomicBool,
}

impl Operation {
    fn progress(&self) -> Progress {
        let disconnected = self.disconnected.load(Ordering::Relaxed);
        let skipped = self.skipped.load(Ordering::Relaxed);
        let is_over = self.is_over.load(Ordering::Acquire);
        let state = match (is_over, self.is_aborted.load(Ordering::Relaxed)) {
            (false, _) => "RUNNING",
            (true, true) => "ABORTED",
            (true, false) => "DONE",
        };
        let remaining = self.matched.saturating_sub(disconnected + skipped);
        let (operation_id, matched) = (self.id.clone(), self.matched);
        Progress { operation_id, state, matched, disconnected, skipped, remaining }
    }
}

/// The operations of a server.
#[derive(Debug, Default)]
pub(super) struct Operations(Mutex<BTreeMap<String, Arc<Operation>>>);

impl Operations {
    fn find(&self, id: &str) -> Result<Arc<Operation>, ApiError> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || ApiError::new(ErrorKind::ResourceNotFound, "No such operation");
        held.get(id).cloned().ok_or_else(missing)
    }

    fn add(&self, operation: &Arc<Operation>) -> Result<(), ApiError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= OPERATIONS_MAX {
            let over = held.iter().find(|(_, it)| it.is_over.load(Ordering::Acquire));
            let over = over.map(|(id, _)| id.clone());
            let busy = || ApiError::new(ErrorKind::Throttling, "Too many operations are under way");
            held.remove(&over.ok_or_else(busy)?);
        }
        held.insert(operation.id.clone(), Arc::clone(operation));
        Ok(())
    }
}

impl Front {
    /// Begins an operation, or says what it would be about.
    pub(super) async fn disconnect_many(
        &self,
        body: &[u8],
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        let asked: Asked = serde_json::from_slice(body).map_err(|_| {
            invalid(
                "The body is JSON: match, cleanSession, preventWillMessage, dryRun, \
                     ratePerSecond, jitter, holdOffSeconds, serverReference",
            )
        })?;
        asked.check()?;
        let selector = asked.selector.read()?;
        let found = select(&self.mesh, &selector).await.ok_or_else(unavailable)?;
        let matched = found.len() as u64;
        if asked.dry_run {
            let mut client_ids: Vec<String> =
                found.iter().map(|it| it.client_id.to_string()).collect();
            client_ids.sort_unstable();
            client_ids.truncate(NAMED_MAX);
            return Ok(Answer::json(&DryRun { matched, client_ids }, trace));
        }
        let operation = Arc::new(Operation {
            id: uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string(),
            matched,
            disconnected: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            is_aborted: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        self.operations.add(&operation)?;
        let progress = operation.progress();
        tokio::spawn(put_off(self.mesh.clone(), operation, asked, found));
        Ok(Answer::json(&progress, trace))
    }

    /// How far an operation is, or its end where that is asked for.
    pub(super) fn operation(
        &self,
        id: &str,
        is_abort: bool,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        let operation = self.operations.find(id)?;
        if is_abort {
            operation.is_aborted.store(true, Ordering::Relaxed);
        }
        Ok(Answer::json(&operation.progress(), trace))
    }
}

fn invalid(message: &str) -> ApiError {
    ApiError::new(ErrorKind::InvalidRequest, message)
}

impl Asked {
    fn check(&self) -> Result<(), ApiError> {
        if self.rate_per_second.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
            return Err(invalid("ratePerSecond is from 1 to 1000000"));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(invalid("jitter is from 0 to 1"));
        }
        if self.hold_off_seconds > HOLD_OFF_SECONDS_MAX {
            return Err(invalid("holdOffSeconds is from 0 to 86400"));
        }
        if self.server_reference.as_ref().is_some_and(|it| it.is_empty() || it.len() > 1_024) {
            return Err(invalid("serverReference is 1 to 1024 bytes"));
        }
        Ok(())
    }
}

impl AskedSelector {
    fn read(&self) -> Result<Selector, ApiError> {
        let client_id_pattern = match (&self.client_id_pattern, &self.prefix) {
            (Some(_), Some(_)) => return Err(invalid("prefix or clientIdPattern, not both")),
            (Some(pattern), None) => Some(pattern.clone()),
            (None, Some(prefix)) if prefix.contains(['*', '?']) => {
                return Err(invalid("prefix has no * and no ?: clientIdPattern has"));
            }
            (None, Some(prefix)) => Some(format!("{prefix}*")),
            (None, None) => None,
        };
        let mqtt5 = match self.protocol.as_deref() {
            None => None,
            Some("MQTT5") => Some(true),
            Some("MQTT3.1.1") => Some(false),
            Some(_) => return Err(invalid("protocol is MQTT5 or MQTT3.1.1")),
        };
        let network = self.address.as_deref().map(network).transpose()?;
        let (thing_name, principal) = (self.thing_name.clone(), self.principal.clone());
        let connected = self.connected;
        let selector =
            Selector { client_id_pattern, connected, mqtt5, network, thing_name, principal };
        let is_empty = selector.client_id_pattern.is_none()
            && (selector.connected, selector.mqtt5, selector.network) == (None, None, None)
            && selector.thing_name.is_none()
            && selector.principal.is_none();
        if is_empty {
            return Err(invalid("match names at least one thing; {\"prefix\":\"\"} is everybody"));
        }
        Ok(selector)
    }
}

/// `192.0.2.0/24`, or one address.
fn network(text: &str) -> Result<(IpAddr, u8), ApiError> {
    let (address, bits) = text.split_once('/').map_or((text, None), |it| (it.0, Some(it.1)));
    let read = || {
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(all), |bits| bits.parse().ok().filter(|it| *it <= all))?;
        Some((address, bits))
    };
    read().ok_or_else(|| invalid("address is an IP address, or a network such as 192.0.2.0/24"))
}

/// Everything that is selected, shard by shard, in steps.
async fn select(mesh: &Mesh, selector: &Selector) -> Option<VecDeque<Selected>> {
    let mut found = VecDeque::new();
    for shard in 0..mesh.placement.shards() {
        let mut from = Some(0);
        while let Some(at) = from {
            let command = Command::Select { selector: selector.clone(), from: at };
            let Reply::Selected { clients, next } = mesh.call(ShardId(shard), command).await?
            else {
                return None;
            };
            found.extend(clients);
            from = next;
        }
    }
    Some(found)
}

/// Puts them off at the pace asked for.
async fn put_off(
    mesh: Mesh,
    operation: Arc<Operation>,
    asked: Asked,
    mut found: VecDeque<Selected>,
) {
    let reference: Option<Arc<str>> = asked.server_reference.as_deref().map(Into::into);
    let begun = tokio::time::Instant::now();
    let mut number = 0_u64;
    while let Some(client) = found.pop_front() {
        if operation.is_aborted.load(Ordering::Relaxed) {
            break;
        }
        if let Some(rate) = asked.rate_per_second {
            let due = due(number, rate, asked.jitter);
            let wait = due.saturating_sub(begun.elapsed());
            if wait >= TICK {
                tokio::time::sleep(wait).await;
            }
        }
        number += 1;
        let owner = mesh.placement.owner_of(&client.client_id);
        let command = Command::DeleteConnection {
            client_id: client.client_id.to_string(),
            clean_session: asked.clean_session,
            prevent_will_message: asked.prevent_will_message,
            further: Further {
                if_session: Some(client.session_identifier),
                hold_off_seconds: asked.hold_off_seconds,
                server_reference: reference.clone(),
            },
        };
        match mesh.call(owner, command).await {
            Some(Reply::Done) => operation.disconnected.fetch_add(1, Ordering::Relaxed),
            Some(_) => operation.skipped.fetch_add(1, Ordering::Relaxed),
            // The server stops.
            None => break,
        };
    }
    operation.is_over.store(true, Ordering::Release);
}

/// When a client's turn is, from the beginning.
fn due(number: u64, rate: u32, jitter: f64) -> Duration {
    let early_or_late = jitter * (rand::random::<f64>() - 0.5);
    #[expect(clippy::cast_precision_loss, reason = "numbers of clients are far below 2^52")]
    let turns = (number as f64 + early_or_late).max(0.0);
    Duration::from_secs_f64(turns / f64::from(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_names_something() {
        let read = |text: &str| serde_json::from_str::<AskedSelector>(text).unwrap().read();
        assert!(read("{}").is_err());
        for bad in [
            r#"{"prefix":"a","clientIdPattern":"b"}"#,
            r#"{"prefix":"a*"}"#,
            r#"{"protocol":"MQTT4"}"#,
            r#"{"address":"192.0.2.0/33"}"#,
            r#"{"address":"x"}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let selector = read(r#"{"prefix":"a","address":"2001:db8::/32"}"#).unwrap();
        assert_eq!(selector.client_id_pattern.as_deref(), Some("a*"));
        assert_eq!(selector.network, Some(("2001:db8::".parse().unwrap(), 32)));
    }

    #[test]
    fn turns_are_as_far_apart_as_the_rate_says() {
        assert_eq!(due(500, 100, 0.0), Duration::from_secs(5));
        for number in 1..100_u32 {
            let turn = due(u64::from(number), 10, 1.0).as_secs_f64() * 10.0;
            let late = turn - f64::from(number);
            assert!(late.abs() <= 0.5 + 1e-6, "{late}");
        }
    }
}
