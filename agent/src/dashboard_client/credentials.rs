//! Which of two tokens goes along: the one that the dashboard gave this host, or the one that its operator gave.
//!
//! The host's own wins. A dashboard that has deleted the host forgets that token and takes only the operator's, so when
//! one is not taken the other is tried: the first time at once, after that only as often as the caller comes.

use nixfleet_protocol::wire::fields::Token;

/// The tokens.
#[derive(Debug)]
pub(super) struct Credentials {
    configured: Option<Token>,
    own: Option<Token>,
    uses_own: bool,
    /// The other one was tried since a token was last taken.
    has_fallen_back: bool,
}

impl Credentials {
    /// `configured` is the operator's, where it is known yet.
    pub(super) fn new(configured: Option<Token>, own: Option<Token>) -> Self {
        Self { configured, uses_own: own.is_some(), own, has_fallen_back: false }
    }

    /// The token for the next call; `None` where that is the operator's and nobody has asked for it yet.
    pub(super) fn current(&self) -> Option<&Token> {
        match &self.own {
            Some(own) if self.uses_own => Some(own),
            Some(_) | None => self.configured.as_ref(),
        }
    }

    /// The operator gave another one.
    pub(super) fn renew(&mut self, configured: Token) {
        self.configured = Some(configured);
    }

    /// The operator gave another one in the place of one that was not taken: it comes next.
    pub(super) fn replace(&mut self, configured: Token) {
        self.configured = Some(configured);
        self.uses_own = false;
    }

    /// The operator's cannot be had: where there is another, that is tried again.
    pub(super) fn give_up_operators(&mut self) {
        self.uses_own = self.own.is_some();
    }

    /// The one that the dashboard gave.
    pub(super) const fn own(&self) -> Option<&Token> {
        self.own.as_ref()
    }

    /// The operator's, where it is known yet.
    pub(super) const fn operators(&self) -> Option<&Token> {
        self.configured.as_ref()
    }

    /// A call with this token was answered.
    pub(super) fn accepted(&mut self, token: &Token) {
        if Some(token) == self.current() {
            self.has_fallen_back = false;
        }
    }

    /// A call with this token was turned away. Whether it is worth trying again at once.
    pub(super) fn refused(&mut self, token: &Token) -> bool {
        if Some(token) != self.current() {
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
        let mut credentials = Credentials::new(Some(shared.clone()), Some(own.clone()));
        assert_eq!(credentials.current(), Some(&own));
        assert!(credentials.refused(&own));
        assert_eq!(credentials.current(), Some(&shared));
        // Both are turned away: from now on only as often as the caller comes.
        assert!(!credentials.refused(&shared));
        assert!(!credentials.refused(&own));
        credentials.accepted(&shared);
        assert!(credentials.refused(&shared));
    }

    #[test]
    fn with_one_token_there_is_nothing_to_try() {
        let mut credentials = Credentials::new(Some(token("shared")), None);
        assert!(!credentials.refused(&token("shared")));
        credentials.adopt(token("own"));
        assert_eq!(credentials.current(), Some(&token("own")));
        // A call that was under way with the old token.
        assert!(credentials.refused(&token("shared")));
        assert_eq!(credentials.current(), Some(&token("own")));
    }

    #[test]
    fn another_token_of_the_operator_s_waits_its_turn_unless_it_is_wanted() {
        let (shared, own, new) = (token("shared"), token("own"), token("new"));
        let mut credentials = Credentials::new(Some(shared), Some(own.clone()));
        credentials.renew(new.clone());
        assert_eq!(credentials.current(), Some(&own));
        assert!(credentials.refused(&own));
        assert_eq!(credentials.current(), Some(&new));
        assert_eq!(credentials.operators(), Some(&new));
        // Both are turned away, so the own one would be next.
        assert!(!credentials.refused(&new));
        assert_eq!(credentials.current(), Some(&own));
        credentials.replace(token("newer"));
        assert_eq!(credentials.current(), Some(&token("newer")));
    }

    #[test]
    fn a_token_that_nobody_has_asked_for_yet_is_none() {
        let mut credentials = Credentials::new(None, None);
        assert_eq!(credentials.current(), None);
        credentials.renew(token("shared"));
        assert_eq!(credentials.current(), Some(&token("shared")));
        let mut credentials = Credentials::new(None, Some(token("own")));
        assert!(credentials.refused(&token("own")));
        assert_eq!(credentials.current(), None);
        credentials.give_up_operators();
        assert_eq!(credentials.current(), Some(&token("own")));
    }
}
