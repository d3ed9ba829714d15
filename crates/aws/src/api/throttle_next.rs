//! Our own switch for tests of clients that are throttled.

use super::Operation;
use super::query::{Query, integer};
use crate::control;
use crate::error::{ApiError, ErrorKind};

/// Most requests that one call throttles.
const CALLS_MAX: u32 = 1_000_000;

/// An operation of either plane.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Throttled {
    /// Of the data plane.
    Data(Operation),
    /// Of the control plane: its name.
    Control(&'static str),
}

impl Throttled {
    fn from_name(name: &str) -> Option<Self> {
        let data = Operation::from_name(name).map(Self::Data);
        data.or_else(|| control::operation_name(name).map(Self::Control))
    }
}

/// Asks that the next requests are throttled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ThrottleNext {
    /// Requests, 0 to 1,000,000; 0 ends what an earlier call asked for. Default 1.
    pub calls: u32,
    /// Only those of one operation, by AWS's name. Default any of the data plane.
    pub operation: Option<Throttled>,
}

impl ThrottleNext {
    /// Validates what follows `?`.
    pub fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let invalid = |message| ApiError::new(ErrorKind::InvalidRequest, message);
        let query = Query::parse(query)?;
        if query.names().any(|name| !matches!(name, "calls" | "operation")) {
            return Err(invalid("Known parameters are calls and operation"));
        }
        let calls = query.get("calls").map_or(Some(1), integer);
        let operation = query.get("operation").map(Throttled::from_name);
        match (calls.filter(|calls| *calls <= CALLS_MAX), operation) {
            (None, _) => Err(invalid("calls is an integer from 0 to 1000000")),
            (_, Some(None)) => {
                Err(invalid("operation is one of the data plane or of the control plane"))
            }
            (Some(calls), operation) => Ok(Self { calls, operation: operation.flatten() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_perhaps_an_operation() {
        let parse = |query| ThrottleNext::parse(query).map(|asked| (asked.calls, asked.operation));
        assert_eq!(parse(None).unwrap(), (1, None));
        let one = Some(Throttled::Data(Operation::DeleteConnection));
        assert_eq!(parse(Some("calls=3&operation=DeleteConnection")).unwrap(), (3, one));
        let control = Some(Throttled::Control("CreateThing"));
        assert_eq!(parse(Some("operation=CreateThing")).unwrap(), (1, control));
        for query in ["calls=-1", "calls=1000001", "calls=x", "operation=x", "call=1"] {
            assert!(parse(Some(query)).is_err(), "{query}");
        }
    }
}
