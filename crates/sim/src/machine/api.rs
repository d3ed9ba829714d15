//! The data plane in front of a machine: an HTTP request to commands, their answers to a response.

use bitts_aws::api::{self, Request as Operation};
use bitts_aws::error::ApiError;
use bitts_broker::command::Further;
use bitts_broker::{ShardId, data_plane};
use serde_json::{Value, json};

use super::Machine;

/// An HTTP request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Request {
    /// Verb.
    pub method: String,
    /// Raw path.
    pub path: String,
    /// What follows `?`.
    pub query: Option<String>,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// An HTTP response, or the commands whose answers make one.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Decided without a shard.
    Now(u16, Value),
    /// Waits for these replies.
    Waits(Box<Operation>, Vec<u64>),
}

impl Machine {
    /// Begins a request.
    pub fn call(&mut self, request: &Request) -> Answer {
        match self.begin(request) {
            Ok(answer) => answer,
            Err(error) => {
                let (status, body) = response(&error);
                Answer::Now(status, body)
            }
        }
    }

    /// The response, once every reply is there.
    pub fn answer(&mut self, answer: &Answer) -> Option<(u16, Value)> {
        match answer {
            Answer::Now(status, body) => Some((*status, body.clone())),
            Answer::Waits(operation, ids) => {
                if ids.iter().any(|id| !self.replies.contains_key(id)) {
                    return None;
                }
                let replies = ids.iter().filter_map(|id| self.reply(*id)).collect();
                Some(match data_plane::answer(operation, replies) {
                    Ok(answer) => (200, json_of(answer)),
                    Err(error) => response(&error),
                })
            }
        }
    }

    fn begin(&mut self, request: &Request) -> Result<Answer, ApiError> {
        let route = api::route(&request.method, &request.path)?;
        let headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let query = request.query.as_deref();
        let operation = Operation::parse(&route, query, &headers.as_slice(), request.body.len())?;
        let payload = request.body.clone().into();
        let (owner, command) = data_plane::command(&operation, payload, Further::default())?;
        let ids = match owner {
            Some(name) => vec![self.command(self.placement.owner_of(name), command)],
            None => (0..self.options.shards)
                .map(|shard| self.command(ShardId(shard), command.clone()))
                .collect(),
        };
        Ok(Answer::Waits(Box::new(operation), ids))
    }
}

/// The body; an empty object where there is none.
fn json_of(answer: api::Answer) -> Value {
    let body = answer.body("").and_then(|body| serde_json::from_slice(&body).ok());
    body.unwrap_or_else(|| json!({}))
}

fn response(error: &ApiError) -> (u16, Value) {
    (error.kind.status(), json!({ "message": error.message }))
}
