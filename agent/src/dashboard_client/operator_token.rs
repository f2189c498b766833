//! The token that the operator gave: looked at again when its file changes, when the dashboard does not take it, and, from a
//! command, when it is needed.
//!
//! What goes wrong with it is said once, until something else goes wrong. As long as there is one, the one before is good.

use std::time::{Duration, Instant};

use nixfleet_protocol::wire::fields::Token;
use tokio::{sync::Mutex, task};

use crate::{
    messages,
    settings::{
        token_file::{self, FileVersion},
        token_source::{self, TokenSource},
    },
};

/// Time between two runs of a command, at least: it may ask people, or another machine.
const COMMAND_EVERY: Duration = Duration::from_mins(1);

/// The token and where it is from.
#[derive(Debug)]
pub(super) struct OperatorToken {
    source: TokenSource,
    /// Held while it is got anew, so that calls that wait for the same get the same.
    seen: Mutex<Seen>,
}

/// What is known of it.
#[derive(Debug)]
struct Seen {
    token: Option<Token>,
    /// Of the file; `None` if it was not there.
    version: Option<FileVersion>,
    /// When the command was last run.
    ran_at: Option<Instant>,
    /// What went wrong the last time.
    trouble: Option<String>,
}

impl OperatorToken {
    pub(super) fn new(source: TokenSource) -> Self {
        let (token, version) = match &source {
            TokenSource::Given(token) => (Some(token.clone()), None),
            TokenSource::File { token, version, .. } => (Some(token.clone()), Some(*version)),
            TokenSource::Command(_) => (None, None),
        };
        let seen = Seen { token, version, ran_at: None, trouble: None };
        Self { source, seen: Mutex::new(seen) }
    }

    /// The token as it was at start; a command was not asked yet.
    pub(super) fn at_start(&self) -> Option<Token> {
        match &self.source {
            TokenSource::Given(token) | TokenSource::File { token, .. } => Some(token.clone()),
            TokenSource::Command(_) => None,
        }
    }

    /// The token, if its file has changed since it was last looked at.
    pub(super) async fn changed(&self) -> Option<Token> {
        let TokenSource::File { path, .. } = &self.source else { return None };
        let mut seen = self.seen.lock().await;
        let (path, known) = (path.clone(), seen.version);
        let look = move || {
            let version = FileVersion::at(&path);
            (version != known).then(|| (version, token_file::read(&path)))
        };
        // A file may be slow, and the loop is not to wait for it. A thread that is gone has seen nothing.
        let (version, read) = task::spawn_blocking(look).await.ok().flatten()?;
        match read {
            Ok((token, version)) => {
                seen.version = Some(version);
                seen.is_now(token, "its file has changed")
            }
            Err(error) => {
                seen.version = version;
                seen.fails(&error);
                None
            }
        }
    }

    /// The token where there was none yet, or why there is none.
    pub(super) async fn first(&self) -> Result<Token, String> {
        let mut seen = self.seen.lock().await;
        if let Some(token) = &seen.token {
            return Ok(token.clone());
        }
        if let Some(token) = self.run_command(&mut seen).await {
            return Ok(token);
        }
        Err(seen.trouble.clone().unwrap_or_else(|| "there is no token".to_owned()))
    }

    /// Another token than this one, which was not taken.
    pub(super) async fn instead_of(&self, refused: &Token) -> Option<Token> {
        let mut seen = self.seen.lock().await;
        match &seen.token {
            // Another call has come before this one.
            Some(token) if token != refused => Some(token.clone()),
            Some(_) | None => self.run_command(&mut seen).await,
        }
    }

    async fn run_command(&self, seen: &mut Seen) -> Option<Token> {
        let TokenSource::Command(words) = &self.source else { return None };
        let now = Instant::now();
        if seen.ran_at.is_some_and(|at| now.saturating_duration_since(at) < COMMAND_EVERY) {
            return None;
        }
        seen.ran_at = Some(now);
        let words = words.clone();
        match task::spawn_blocking(move || token_source::run(&words)).await.ok()? {
            Ok(token) => seen.is_now(token, "token_command gave it"),
            Err(error) => {
                seen.fails(&error);
                None
            }
        }
    }
}

impl Seen {
    /// Answers with the token if it is another one than before.
    fn is_now(&mut self, token: Token, why: &str) -> Option<Token> {
        self.trouble = None;
        if self.token.as_ref() == Some(&token) {
            return None;
        }
        tracing::info!("there is another token: {why}");
        self.token = Some(token.clone());
        Some(token)
    }

    fn fails(&mut self, error: &dyn std::error::Error) {
        let trouble = messages::with_causes(error);
        // Where there is none at all, the call that fails for it says so.
        if self.token.is_some() && self.trouble.as_ref() != Some(&trouble) {
            tracing::warn!("going on with the token as it was: {trouble}");
        }
        self.trouble = Some(trouble);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;

    fn put(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn token(text: &str) -> Token {
        Token::new(text).unwrap()
    }

    #[tokio::test]
    async fn a_file_is_read_when_it_changes_and_the_old_token_stays_until_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        put(&path, "first", 0o600);
        let (read, version) = token_file::read(&path).unwrap();
        let source = TokenSource::File { path: path.clone(), token: read, version };
        let operator = OperatorToken::new(source);
        assert_eq!(operator.at_start(), Some(token("first")));
        assert_eq!(operator.changed().await, None);
        put(&path, "second", 0o644);
        assert_eq!(operator.changed().await, None);
        assert_eq!(operator.instead_of(&token("first")).await, None);
        put(&path, "second", 0o600);
        assert_eq!(operator.changed().await, Some(token("second")));
        assert_eq!(operator.changed().await, None);
        assert_eq!(operator.instead_of(&token("first")).await, Some(token("second")));
        fs::remove_file(&path).unwrap();
        assert_eq!(operator.changed().await, None);
        assert_eq!(operator.first().await, Ok(token("second")));
        put(&path, "second", 0o600);
        assert_eq!(operator.changed().await, None);
    }

    #[tokio::test]
    async fn a_command_is_run_when_it_is_needed_and_not_too_often() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        let script =
            format!("echo x >> '{0}'; echo token-$(wc -l < '{0}' | tr -d ' ')", runs.display());
        let words = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
        let operator = OperatorToken::new(TokenSource::Command(words));
        assert_eq!((operator.at_start(), operator.changed().await), (None, None));
        assert!(!runs.exists());
        assert_eq!(operator.first().await, Ok(token("token-1")));
        assert_eq!(operator.first().await, Ok(token("token-1")));
        assert_eq!(operator.instead_of(&token("earlier")).await, Some(token("token-1")));
        assert_eq!(operator.instead_of(&token("token-1")).await, None);
        operator.seen.lock().await.ran_at = Instant::now().checked_sub(COMMAND_EVERY);
        assert_eq!(operator.instead_of(&token("token-1")).await, Some(token("token-2")));
    }

    #[tokio::test]
    async fn a_command_that_gives_none_is_explained_each_time_and_run_once() {
        let words = ["/bin/sh", "-c", "echo locked >&2; exit 1"].map(str::to_owned).to_vec();
        let operator = OperatorToken::new(TokenSource::Command(words));
        for _ in 0..2 {
            let why = operator.first().await.unwrap_err();
            assert!(why.contains("token_command") && why.contains("locked"), "{why}");
        }
    }
}
