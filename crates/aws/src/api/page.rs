//! Where a page of a list begins: the token that one page hands to the next.
//!
//! A token names the last item sent, so it means the same on every node and after every restart.
//! Its tag tells a token of ours from anything else; it is not a secret and protects nothing:
//! permission is asked again for every page.

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::error::{ApiError, ErrorKind};

/// Bytes of the tag that leads a token.
const TAG_BYTES: usize = 8;

/// The token of the page behind `after`, the last item of this one. URL-safe and opaque.
#[must_use]
pub fn next_token(after: &str) -> String {
    let mut token = tag(after.as_bytes()).to_vec();
    token.extend_from_slice(after.as_bytes());
    BASE64URL_NOPAD.encode(&token)
}

/// The item a token continues behind.
pub(super) fn after(token: &str) -> Result<String, ApiError> {
    let decoded = BASE64URL_NOPAD.decode(token.as_bytes()).ok();
    let item = decoded.as_deref().and_then(|token| {
        let (sent, item) = token.split_first_chunk::<TAG_BYTES>()?;
        (*sent == tag(item)).then(|| str::from_utf8(item).ok()).flatten()
    });
    item.map(ToOwned::to_owned)
        .ok_or_else(|| ApiError::new(ErrorKind::InvalidRequest, "nextToken is not valid"))
}

fn tag(item: &[u8]) -> [u8; TAG_BYTES] {
    let digest = Sha256::new().chain_update(b"nextToken\0").chain_update(item).finalize();
    std::array::from_fn(|index| digest[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_tokens_are_refused() {
        let token = next_token("a/b");
        let altered = format!("{}A", &token[..token.len() - 1]);
        for token in ["", "AAAA", "a/b", "%", "AAAAAAAAAAA", &altered, &format!("{token}=")] {
            assert_eq!(after(token).map_err(|error| error.kind), Err(ErrorKind::InvalidRequest));
        }
    }

    proptest::proptest! {
        #[test]
        fn a_token_names_its_item(item: String) {
            let token = next_token(&item);
            let safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            proptest::prop_assert!(token.bytes().all(safe));
            proptest::prop_assert_eq!(after(&token), Ok(item));
        }

        #[test]
        fn any_other_text_is_no_token(text: String) {
            proptest::prop_assert!(after(&text).is_err());
        }
    }
}
