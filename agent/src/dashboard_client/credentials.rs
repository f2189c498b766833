//! Which of two tokens goes along: the one that the dashboard gave this host, or the one that its operator gave.
//!
//! The host's own wins. A dashboard that has deleted the host forgets that token and takes only the operator's, so when
//! one is not taken the other is tried: the first time at once, after that only as often as the caller comes.

use nixfleet_protocol::wire::fields::Token;

/// The tokens.
#[derive(Debug)]
pub(super) struct Credentials {
    configured: Token,
    own: Option<Token>,
    uses_own: bool,
    /// The other one was tried since a token was last taken.
    has_fallen_back: bool,
}

impl Credentials {
    pub(super) fn new(configured: Token, own: Option<Token>) -> Self {
        Self { configured, uses_own: own.is_some(), own, has_fallen_back: false }
    }

    /// The token for the next call.
    pub(super) fn current(&self) -> &Token {
        match &self.own {
            Some(own) if self.uses_own => own,
            Some(_) | None => &self.configured,
        }
    }

    /// All tokens.
    pub(super) fn all(&self) -> Vec<Token> {
        let own = self.own.iter().cloned();
        own.chain([self.configured.clone()]).collect()
    }

    /// A call with this token was answered.
    pub(super) fn accepted(&mut self, token: &Token) {
        if token == self.current() {
            self.has_fallen_back = false;
        }
    }

    /// A call with this token was turned away. Whether it is worth trying again at once.
    pub(super) fn refused(&mut self, token: &Token) -> bool {
        if token != self.current() {
            // Another call has changed over in the meantime.
            return true;
        }
        if self.own.is_none() {
            return false;
        }
        self.uses_own = !self.uses_own;
        !std::mem::replace(&mut self.has_fallen_back, true)
    }

    /// The dashboard gave the host this token.
    pub(super) fn adopt(&mut self, token: Token) {
        self.own = Some(token);
        self.uses_own = true;
        self.has_fallen_back = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        Token::new(text).unwrap()
    }

    #[test]
    fn the_own_token_wins_and_the_other_is_tried_at_once_but_once() {
        let (shared, own) = (token("shared"), token("own"));
        let mut credentials = Credentials::new(shared.clone(), Some(own.clone()));
        assert_eq!(credentials.current(), &own);
        assert!(credentials.refused(&own));
        assert_eq!(credentials.current(), &shared);
        // Both are turned away: from now on only as often as the caller comes.
        assert!(!credentials.refused(&shared));
        assert!(!credentials.refused(&own));
        credentials.accepted(&shared);
        assert!(credentials.refused(&shared));
    }

    #[test]
    fn with_one_token_there_is_nothing_to_try() {
        let mut credentials = Credentials::new(token("shared"), None);
        assert!(!credentials.refused(&token("shared")));
        credentials.adopt(token("own"));
        assert_eq!(credentials.current(), &token("own"));
        // A call that was under way with the old token.
        assert!(credentials.refused(&token("shared")));
        assert_eq!(credentials.current(), &token("own"));
    }
}
