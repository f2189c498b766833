//! Whose token it is.
//!
//! Tokens are compared, and a host's own token is stored, as plain SHA-256. That is enough: a host's token is 256
//! random bits, which cannot be guessed from its digest, and a key kept in the same database would fall into the same
//! hands. Two digests are compared in constant time. No token is ever logged.

use axum::http::{HeaderMap, header::AUTHORIZATION};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use nixfleet_protocol::wire::fields::{FieldError, HostId, Token};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    context::Dashboard,
    reply::ApiError,
    store::{HostRow, StoreError},
};

/// The length of a host's own token before it is encoded, in bytes.
const HOST_TOKEN_BYTES: usize = 32;

/// The SHA-256 of a token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of a token.
    pub(crate) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// The digest that was stored.
    fn stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// As it is stored.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are of the same token, in a time that does not tell how much of them agrees.
    pub(crate) fn is(self, other: Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// The tokens that the dashboard was started with, and its rules for them.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    /// The token that all agents share.
    pub(crate) agent: TokenDigest,
    pub(crate) operator: TokenDigest,
    /// Whether the shared token is good.
    pub(crate) allow_shared: bool,
    /// Whether hosts get tokens of their own.
    pub(crate) provision: bool,
}

impl Tokens {
    /// Whether a request with this token may speak for a host that has this token of its own, or none.
    fn admit_agent(&self, presented: TokenDigest, own: Option<TokenDigest>) -> bool {
        let is_own = own.is_some_and(|own| own.is(presented));
        let is_shared = self.agent.is(presented);
        is_own || (is_shared && self.allow_shared)
    }
}

/// Why there is no new token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NewTokenError {
    /// The system has no random numbers.
    #[error("cannot get random numbers from the system")]
    Random(#[source] getrandom::Error),
    /// The token does not fit the wire.
    #[error("a new token does not fit the wire")]
    Field(#[source] FieldError),
}

/// A new token for a host, and what to store of it.
pub(crate) fn new_host_token() -> Result<(Token, TokenDigest), NewTokenError> {
    let mut bytes = [0; HOST_TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(NewTokenError::Random)?;
    let token = Token::new(&BASE64_URL_SAFE_NO_PAD.encode(bytes)).map_err(NewTokenError::Field)?;
    let digest = TokenDigest::of(token.reveal());
    Ok((token, digest))
}

/// Lets an agent speak for this host, or not; returns what is known of the host.
pub(crate) async fn admit_agent(
    dashboard: &Dashboard,
    host: &HostId,
    headers: &HeaderMap,
) -> Result<Option<HostRow>, ApiError> {
    let presented = bearer(headers).ok_or(ApiError::AgentToken)?;
    let known = dashboard.store.host(host).await?;
    let own = known.as_ref().map(own_token).transpose()?.flatten();
    if dashboard.tokens.admit_agent(presented, own) { Ok(known) } else { Err(ApiError::AgentToken) }
}

/// Lets an operator in, or not.
pub(crate) fn admit_operator(dashboard: &Dashboard, headers: &HeaderMap) -> Result<(), ApiError> {
    let presented = bearer(headers).ok_or(ApiError::OperatorToken)?;
    if dashboard.tokens.operator.is(presented) { Ok(()) } else { Err(ApiError::OperatorToken) }
}

/// The digest of the request's bearer token.
fn bearer(headers: &HeaderMap) -> Option<TokenDigest> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| TokenDigest::of(token))
}

fn own_token(host: &HostRow) -> Result<Option<TokenDigest>, StoreError> {
    let Some(hash) = &host.token_hash else { return Ok(None) };
    let digest = TokenDigest::stored(hash).ok_or_else(|| StoreError::Damaged {
        what: "digest of a host's token",
        value: format!("{} bytes", hash.len()),
    })?;
    Ok(Some(digest))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn own_and_shared_tokens_are_told_apart() {
        let own = Some(TokenDigest::of("own"));
        for (presented, own, allow_shared, admitted) in [
            ("shared", None, true, true),
            ("shared", own, true, true),
            ("shared", own, false, false),
            ("shared", None, false, false),
            ("own", own, true, true),
            ("own", own, false, true),
            ("own", None, true, false),
            ("operator", own, true, false),
            ("other", own, true, false),
        ] {
            let tokens = Tokens {
                agent: TokenDigest::of("shared"),
                operator: TokenDigest::of("operator"),
                allow_shared,
                provision: true,
            };
            assert_eq!(
                tokens.admit_agent(TokenDigest::of(presented), own),
                admitted,
                "{presented} {own:?} {allow_shared}"
            );
        }
    }

    #[test]
    fn only_a_bearer_token_is_a_token() {
        let is_token = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            bearer(&headers).is_some_and(|digest| digest.is(TokenDigest::of("abc")))
        };
        for value in ["Bearer abc", "bearer abc", "BEARER  abc"] {
            assert!(is_token(value), "{value}");
        }
        for value in ["Basic abc", "abc", "Bearer", "Bearer ", "Bearer abcd"] {
            assert!(!is_token(value), "{value}");
        }
        assert!(bearer(&HeaderMap::new()).is_none());
    }

    #[test]
    fn new_tokens_are_long_and_differ() {
        let (first, digest) = new_host_token().unwrap();
        let (second, _) = new_host_token().unwrap();
        assert_eq!(first.reveal().len(), 43);
        assert_ne!(first.reveal(), second.reveal());
        assert!(digest.is(TokenDigest::of(first.reveal())));
    }
}
