//! A signature as a request presents it: in `Authorization` or in the query, never in both.
//!
//! Parsing decides nothing about the key or the time; what it gives is well-formed, and `host` is
//! signed, and in the header form `x-amz-date` too.

use std::fmt;

use thiserror::Error;

use super::canonical::parameters;
use super::{ALGORITHM, AmzDate, SignedRequest, TERMINATOR};

/// Signed headers of one signature at most; more are malformed.
const SIGNED_HEADERS_MAX: usize = 64;

/// What a key is good for: a day, a region and a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scope {
    /// Whose key.
    pub access_key_id: String,
    /// `YYYYMMDD`.
    pub day: String,
    /// Region.
    pub region: String,
    /// Service.
    pub service: String,
}

impl Scope {
    /// Reads `{key id}/{day}/{region}/{service}/aws4_request`; a key id may hold slashes.
    fn parse(credential: &str) -> Option<Self> {
        let mut parts = credential.rsplitn(5, '/');
        let (terminator, service) = (parts.next()?, parts.next()?);
        let (region, day, access_key_id) = (parts.next()?, parts.next()?, parts.next()?);
        let is_day = day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit());
        let empty = [service, region, access_key_id].iter().any(|part| part.is_empty());
        (terminator == TERMINATOR && is_day && !empty).then(|| Self {
            access_key_id: access_key_id.to_owned(),
            day: day.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        })
    }
}

/// As it stands in what is signed, without the key id.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{TERMINATOR}", self.day, self.region, self.service)
    }
}

/// Where a signature stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// `Authorization`.
    Header,
    /// `X-Amz-Signature` in the query.
    Query {
        /// `X-Amz-Expires`; without it the request is good as long as a header's.
        expires_seconds: Option<u32>,
    },
}

/// A well-formed signature that nobody has checked yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Presented {
    /// Where it stands.
    pub form: Form,
    /// Whose key, and what the key is good for.
    pub scope: Scope,
    /// Names in lower case, ascending, each once.
    pub signed_headers: Vec<String>,
    /// The signature.
    pub signature: [u8; 32],
    /// When it was made.
    pub date: AmzDate,
    /// What temporary credentials come with; not necessarily signed.
    pub session_token: Option<String>,
}

/// Why what a request presents is no signature.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[expect(missing_docs, reason = "each says itself")]
pub enum MalformedSignature {
    #[error("the request is signed in a header and in the query")]
    TwoForms,
    #[error("{0} stands twice")]
    Repeated(&'static str),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("the algorithm is not AWS4-HMAC-SHA256")]
    Algorithm,
    #[error("the Authorization header has a part that is not name=value")]
    Authorization,
    #[error("the credential is not KEY/DAY/REGION/SERVICE/aws4_request")]
    Credential,
    #[error("the signed headers are not lower-case names in ascending order")]
    SignedHeaders,
    #[error("the header {0} is not signed")]
    NotSigned(&'static str),
    #[error("the signature is not 64 hexadecimal digits")]
    Signature,
    #[error("the date is not YYYYMMDDTHHMMSSZ")]
    Date,
    #[error("X-Amz-Expires is not an integer")]
    Expires,
    #[error("the session token is not text")]
    SessionToken,
}

use MalformedSignature as Malformed;

/// The parts of a signature as text.
#[derive(Default)]
struct Parts {
    credential: Option<String>,
    signed_headers: Option<String>,
    signature: Option<String>,
}

impl Presented {
    /// The signature of a request; `None` where it has none.
    pub fn parse(request: &SignedRequest<'_>) -> Result<Option<Self>, Malformed> {
        let mut authorization = request.values("authorization");
        let is_query = parameters(request.query).any(|(name, _)| name == b"X-Amz-Signature");
        match (authorization.next(), authorization.next(), is_query) {
            (None, _, false) => Ok(None),
            (Some(_), _, true) => Err(Malformed::TwoForms),
            (Some(_), Some(_), false) => Err(Malformed::Repeated("Authorization")),
            (Some(value), None, false) => {
                let value = str::from_utf8(value).or(Err(Malformed::Authorization))?;
                Self::from_header(request, value).map(Some)
            }
            (None, _, true) => Self::from_query(request.query).map(Some),
        }
    }

    fn from_header(request: &SignedRequest<'_>, value: &str) -> Result<Self, Malformed> {
        let (algorithm, rest) = value.trim().split_once(' ').unwrap_or((value, ""));
        if algorithm != ALGORITHM {
            return Err(Malformed::Algorithm);
        }
        let mut parts = Parts::default();
        for part in rest.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or(Malformed::Authorization)?;
            match name {
                "Credential" => once("Credential", &mut parts.credential, value)?,
                "SignedHeaders" => once("SignedHeaders", &mut parts.signed_headers, value)?,
                "Signature" => once("Signature", &mut parts.signature, value)?,
                _ => return Err(Malformed::Authorization),
            }
        }
        if request.values("x-amz-date").count() > 1 {
            return Err(Malformed::Repeated("X-Amz-Date"));
        }
        let date = request.value("x-amz-date").ok_or(Malformed::Missing("X-Amz-Date"))?;
        let session_token = match request.values("x-amz-security-token").count() {
            0 => None,
            1 => Some(request.value("x-amz-security-token").ok_or(Malformed::SessionToken)?),
            _ => return Err(Malformed::Repeated("X-Amz-Security-Token")),
        };
        let presented = parts.validate(Form::Header, date, session_token)?;
        if presented.signed_headers.iter().any(|name| name == "x-amz-date") {
            Ok(presented)
        } else {
            Err(Malformed::NotSigned("x-amz-date"))
        }
    }

    fn from_query(query: &str) -> Result<Self, Malformed> {
        let mut parts = Parts::default();
        let (mut algorithm, mut date, mut expires, mut token) = (None, None, None, None);
        for (name, value) in parameters(query) {
            let (name, place) = match name.as_slice() {
                b"X-Amz-Algorithm" => ("X-Amz-Algorithm", &mut algorithm),
                b"X-Amz-Credential" => ("X-Amz-Credential", &mut parts.credential),
                b"X-Amz-Date" => ("X-Amz-Date", &mut date),
                b"X-Amz-Expires" => ("X-Amz-Expires", &mut expires),
                b"X-Amz-SignedHeaders" => ("X-Amz-SignedHeaders", &mut parts.signed_headers),
                b"X-Amz-Security-Token" => ("X-Amz-Security-Token", &mut token),
                b"X-Amz-Signature" => ("X-Amz-Signature", &mut parts.signature),
                _ => continue,
            };
            once(name, place, &String::from_utf8_lossy(&value))?;
        }
        if algorithm.as_deref() != Some(ALGORITHM) {
            return Err(Malformed::Algorithm);
        }
        let is_digits = |text: &String| text.bytes().all(|byte| byte.is_ascii_digit());
        let expires_seconds = match expires {
            Some(text) if is_digits(&text) => Some(text.parse().or(Err(Malformed::Expires))?),
            Some(_) => return Err(Malformed::Expires),
            None => None,
        };
        let date = date.ok_or(Malformed::Missing("X-Amz-Date"))?;
        parts.validate(Form::Query { expires_seconds }, &date, token.as_deref())
    }
}

/// Fills a place that may be filled once.
fn once(name: &'static str, place: &mut Option<String>, value: &str) -> Result<(), Malformed> {
    match place.replace(value.to_owned()) {
        None => Ok(()),
        Some(_) => Err(Malformed::Repeated(name)),
    }
}

impl Parts {
    fn validate(
        self,
        form: Form,
        date: &str,
        session_token: Option<&str>,
    ) -> Result<Presented, Malformed> {
        let credential = self.credential.ok_or(Malformed::Missing("Credential"))?;
        let signed_headers = self.signed_headers.ok_or(Malformed::Missing("SignedHeaders"))?;
        let signature = self.signature.ok_or(Malformed::Missing("Signature"))?;
        let signed_headers = names(&signed_headers)?;
        if !signed_headers.iter().any(|name| name == "host") {
            return Err(Malformed::NotSigned("host"));
        }
        Ok(Presented {
            form,
            scope: Scope::parse(&credential).ok_or(Malformed::Credential)?,
            signed_headers,
            signature: digest(&signature).ok_or(Malformed::Signature)?,
            date: AmzDate::parse(date).ok_or(Malformed::Date)?,
            session_token: session_token.map(ToOwned::to_owned),
        })
    }
}

/// Header names, joined by `;`.
fn names(joined: &str) -> Result<Vec<String>, Malformed> {
    let names: Vec<_> = joined.split(';').map(ToOwned::to_owned).collect();
    let is_name = |name: &String| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
    };
    let is_ascending = names.is_sorted_by(|a, b| a < b);
    if names.len() <= SIGNED_HEADERS_MAX && is_ascending && names.iter().all(is_name) {
        Ok(names)
    } else {
        Err(Malformed::SignedHeaders)
    }
}

/// 64 hexadecimal digits.
fn digest(text: &str) -> Option<[u8; 32]> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}
