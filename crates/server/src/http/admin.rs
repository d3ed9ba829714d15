//! What is ours and not AWS's: health, metrics, and the list of connections.

use std::sync::atomic::Ordering;

use bitts_aws::api::{Connection, next_token};
use bitts_aws::error::{ApiError, ErrorKind};
use bitts_aws::sigv4;
use bitts_broker::command::{Command, Reply};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize};

use super::Front;
use super::answer::{Answer, Trace};
use super::authenticate::Door;
use super::data_plane::unavailable;
use super::disconnect::OPERATIONS;
use crate::{metrics, sys};

/// Services that requests to our own paths are signed for.
const OUR_SERVICES: &[&str] = &["iot", sigv4::SERVICE_DATA, sigv4::SERVICE_GATEWAY];

/// Ten years.
const ADVANCE_MILLIS_MAX: u64 = 10 * 366 * 86_400_000;

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a path is answered here.
pub(super) fn owns(path: &str) -> bool {
    path == "/metrics" || path.starts_with("/health/") || path.starts_with("/bitts/v1/")
}

/// One page of `GET /bitts/v1/connections`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionPage {
    connections: Vec<ListedConnection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// A connection or session in the list: what GetConnection says, and a little more.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedConnection {
    #[serde(flatten)]
    connection: Connection,
    protocol: &'static str,
    session_identifier: String,
    subscriptions: usize,
    queued: usize,
}

/// How far the clock is moved: one of them; none only asks.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MoveClock {
    advance_millis: Option<u64>,
    advance_seconds: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Time {
    unix_millis: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    status: &'static str,
    durability: &'static str,
}

/// Our paths: what each answers to, and the action that it needs; health is for everybody.
const PATHS: &[(&str, Method, Option<&str>)] = &[
    ("/health/live", Method::GET, None),
    ("/health/ready", Method::GET, None),
    ("/metrics", Method::GET, Some("bitts:GetMetrics")),
    ("/bitts/v1/connections", Method::GET, Some("bitts:ListConnections")),
    ("/bitts/v1/connections/disconnect", Method::POST, Some("bitts:DisconnectMany")),
    ("/bitts/v1/clock", Method::POST, Some("bitts:MoveClock")),
    ("/bitts/v1/throttle", Method::POST, Some("bitts:ThrottleNext")),
    ("/bitts/v1/policy/compare", Method::POST, Some("bitts:ComparePolicy")),
];

impl Front {
    pub(super) async fn admin(
        &self,
        request: Request<Incoming>,
        trace: &Trace,
        door: &Door,
    ) -> Answer {
        let (head, body) = request.into_parts();
        let body = match self.read_body(body).await {
            Ok(body) => body,
            Err(error) => return Answer::error(&error, trace).closing(),
        };
        match self.administer(&head, &body, trace, door).await {
            Ok(answer) => answer,
            Err(error) => Answer::error(&error, trace),
        }
    }

    async fn administer(
        &self,
        head: &Parts,
        body: &[u8],
        trace: &Trace,
        door: &Door,
    ) -> Result<Answer, ApiError> {
        let path = head.uri.path();
        if let Some(id) = path.strip_prefix(OPERATIONS) {
            let caller = self.authenticate(door, head, body, OUR_SERVICES).await?;
            caller.may_do("bitts:DisconnectMany")?;
            let is_abort = head.method == Method::DELETE;
            if !is_abort && head.method != Method::GET {
                return Err(wrong_method());
            }
            return self.operation(id, is_abort, trace);
        }
        let known = PATHS.iter().find(|(known, ..)| *known == path);
        // Which paths there are learns who may do everything.
        let action = known.map_or(Some("bitts:Unknown"), |(_, _, action)| *action);
        if let Some(action) = action {
            self.authenticate(door, head, body, OUR_SERVICES).await?.may_do(action)?;
        }
        let Some((_, method, _)) = known else {
            return Err(ApiError::new(ErrorKind::ResourceNotFound, "No such path"));
        };
        let is_head = *method == Method::GET && head.method == Method::HEAD;
        if head.method != *method && !is_head {
            return Err(wrong_method());
        }
        match path {
            "/health/live" => Ok(self.health("live", true, trace)),
            "/health/ready" => Ok(self.readiness(trace)),
            "/metrics" => Ok(self.metrics(trace).await),
            "/bitts/v1/throttle" => {
                self.throttle_next(head.uri.query()).map(|()| Answer::empty(trace))
            }
            "/bitts/v1/clock" => self.move_clock(body, trace).await,
            "/bitts/v1/connections/disconnect" => self.disconnect_many(body, trace).await,
            "/bitts/v1/policy/compare" => self.compare_policy(body, trace).await,
            _ => self.list_connections(head.uri.query(), trace).await,
        }
    }

    /// Moves a test server's clock forward. When this answers, what became due has happened.
    async fn move_clock(&self, body: &[u8], trace: &Trace) -> Result<Answer, ApiError> {
        let invalid = |message| ApiError::new(ErrorKind::InvalidRequest, message);
        let asked: MoveClock = serde_json::from_slice(body)
            .map_err(|_| invalid("The body is JSON: advanceMillis or advanceSeconds"))?;
        let millis = match (asked.advance_millis, asked.advance_seconds) {
            (Some(millis), None) => Some(millis),
            (None, Some(seconds)) => seconds.checked_mul(1_000),
            (None, None) => Some(0),
            (Some(_), Some(_)) => None,
        };
        let millis = millis.filter(|millis| *millis <= ADVANCE_MILLIS_MAX);
        let millis = millis.ok_or_else(|| invalid("The clock moves by at most 10 years"))?;
        if !self.clock.is_movable() {
            let message = "The clock moves only with --test-clock";
            return Err(ApiError::new(ErrorKind::ResourceNotFound, message));
        }
        self.advance(millis).await.ok_or_else(unavailable)?;
        Ok(Answer::json(&Time { unix_millis: self.clock.now().unix_ms }, trace))
    }

    /// Moves the clock; none where it cannot be moved, or the server stops.
    pub(super) async fn advance(&self, millis: u64) -> Option<()> {
        if !self.clock.advance(millis) {
            return None;
        }
        // A turn of every shard for what became due, and one for what came of it elsewhere.
        for _ in 0..2 {
            self.mesh.call_all(Command::Stats).await?;
        }
        Some(())
    }

    fn readiness(&self, trace: &Trace) -> Answer {
        let status = if self.is_stopping.load(Ordering::Relaxed) {
            "stopping"
        } else if self.counters.is_disk_full() {
            "disk_full"
        } else {
            "ready"
        };
        self.health(status, status == "ready", trace)
    }

    fn health(&self, status: &'static str, is_well: bool, trace: &Trace) -> Answer {
        let durability = self.counters.durability;
        let answer = Answer::json(&Health { status, durability }, trace);
        if is_well { answer } else { answer.with_status(StatusCode::SERVICE_UNAVAILABLE) }
    }

    /// Makes the next requests throttle: `calls`, and `operation` for one only.
    fn throttle_next(&self, query: Option<&str>) -> Result<(), ApiError> {
        self.throttle.throttle_next(&bitts_aws::api::ThrottleNext::parse(query)?);
        Ok(())
    }

    async fn metrics(&self, trace: &Trace) -> Answer {
        let Some(stats) = sys::stats(&self.mesh).await else {
            return Answer::error(&unavailable(), trace);
        };
        match metrics::text(stats, &self.counters) {
            Ok(text) => Answer::text(METRICS_TYPE, text, trace),
            Err(error) => {
                tracing::error!(%error, "cannot write metrics");
                Answer::error(&ApiError::new(ErrorKind::InternalFailure, "No metrics"), trace)
            }
        }
    }

    /// Sessions of all shards by Client Identifier, connected or not: `prefix`, `connected`
    /// (`true` or `false`), `maxResults` (1 to 200, default 100), `nextToken`.
    async fn list_connections(
        &self,
        query: Option<&str>,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        let asked = bitts_aws::api::ListConnections::parse(query)?;
        let command = Command::ListConnections {
            prefix: asked.prefix,
            after: asked.after,
            max: asked.max_results,
            connected: asked.connected,
        };
        let replies = self.mesh.call_all(command).await.ok_or_else(unavailable)?;
        let mut found = Vec::new();
        let mut more = false;
        for reply in replies {
            if let Reply::Connections { connections, more: on_shard } = reply {
                found.extend(connections);
                more |= on_shard;
            }
        }
        found.sort_unstable_by(|a, b| a.client_id.cmp(&b.client_id));
        more |= found.len() > asked.max_results;
        found.truncate(asked.max_results);
        let last = found.last().filter(|_| more);
        let page = ConnectionPage {
            next_token: last.map(|last| next_token(&last.client_id)),
            connections: found
                .into_iter()
                .map(|info| ListedConnection {
                    protocol: if info.mqtt5 { "MQTT5" } else { "MQTT3.1.1" },
                    session_identifier: info.session_identifier.clone(),
                    subscriptions: info.subscriptions,
                    queued: info.queued,
                    connection: info.told(true),
                })
                .collect(),
        };
        Ok(Answer::json(&page, trace))
    }
}

fn wrong_method() -> ApiError {
    ApiError::new(ErrorKind::MethodNotAllowed, "The path does not know this method")
}
