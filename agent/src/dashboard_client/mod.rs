//! The dashboard over HTTP: one function per call, each bounded in time and size, each answer classified.
//!
//! Nothing is retried and nothing is decided here, beyond which token a call carries. No redirect is followed: the token is
//! for the dashboard and for nobody else. Tokens are taken out of what is sent to it and of what is said about it.

mod connections;
mod credentials;
mod failure;
mod operator_token;
mod retry_after;
mod server_clock;
mod tls;

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::records::{Healing, SwitchId},
    redactor::Redactor,
    wire::{
        MAX_ANSWER_BYTES,
        fields::{CommandId, Token},
        v1::{Register, Registered, Status, TestProgress, Updated},
        v2::{
            CommandAnswer, HealingRecorded, OutputRecorded, Polled, SwitchRecorded, SwitchReport,
        },
    },
};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub(crate) use failure::{Failure, FailureKind};

use crate::{known_tokens::KnownTokens, messages, settings::Settings};
use connections::{Connections, SleepWatch};
use credentials::Credentials;
use operator_token::OperatorToken;
use server_clock::ServerClock;

/// How long a call may take in all.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// How long the dashboard may hold a poll.
const POLL_WAIT: Duration = Duration::from_secs(25);

/// What a poll may take beyond that.
const POLL_SURPLUS: Duration = Duration::from_secs(10);

/// What a call comes to.
pub(crate) type Reply<T> = Result<T, Failure>;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The HTTP library does not take its settings.
    #[error("cannot set up the HTTP client; check the variables that name a proxy")]
    Http(#[from] reqwest::Error),
}

/// The dashboard.
#[derive(Debug)]
pub(crate) struct DashboardClient {
    connections: Connections,
    sleep: Mutex<SleepWatch>,
    host: Url,
    proxy_variable: Option<&'static str>,
    operator: OperatorToken,
    credentials: Mutex<Credentials>,
    known_tokens: KnownTokens,
    clock: ServerClock,
}

/// A call that is to be made.
struct Call<'a> {
    method: Method,
    /// Below the host's address.
    path: &'a str,
    body: Option<(&'static str, Vec<u8>)>,
    limit: Duration,
    /// A status that is an answer too, beside success.
    also_answers: Option<StatusCode>,
}

impl<'a> Call<'a> {
    const fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, body: None, limit: CALL_LIMIT, also_answers: None }
    }
}

impl DashboardClient {
    /// A client for the dashboard of the settings. `host_token` is the one that it gave this host before.
    pub(crate) fn new(
        settings: &Settings,
        host_token: Option<Token>,
        known_tokens: KnownTokens,
    ) -> Result<Self, ClientError> {
        let tls = tls::config(&settings.certificates, &settings.pinned_public_keys)?;
        let operator = OperatorToken::new(settings.token.clone());
        for token in host_token.iter().chain(&operator.at_start()) {
            known_tokens.learn(token);
        }
        Ok(Self {
            connections: Connections::new(tls)?,
            sleep: Mutex::new(SleepWatch::new(Timestamp::now(), Instant::now())),
            host: host_url(&settings.url, settings.hostname.as_str()),
            proxy_variable: settings.proxy_variable,
            credentials: Mutex::new(Credentials::new(operator.at_start(), host_token)),
            operator,
            known_tokens,
            clock: ServerClock::default(),
        })
    }

    /// Registration, heartbeat, and on v1 the command poll.
    pub(crate) async fn register(&self, register: &Register) -> Reply<Registered> {
        self.call(Method::POST, "register", Some(register)).await
    }

    /// Waits for a command.
    pub(crate) async fn poll(&self) -> Reply<Polled> {
        let path = format!("poll?wait={}", POLL_WAIT.as_secs());
        let call = Call { limit: POLL_WAIT + POLL_SURPLUS, ..Call::new(Method::GET, &path) };
        self.exchange(call).await
    }

    /// Says that a command is on disk.
    pub(crate) async fn acknowledge(&self, command: &CommandId) -> Reply<()> {
        let path = format!("commands/{command}/ack");
        self.call::<(), JsonObject>(Method::POST, &path, None).await.map(drop)
    }

    /// Closes a command that is not a switch.
    pub(crate) async fn answer(&self, command: &CommandId, answer: &CommandAnswer) -> Reply<()> {
        let path = format!("commands/{command}/answer");
        self.call::<_, JsonObject>(Method::PUT, &path, Some(answer)).await.map(drop)
    }

    /// The result of a command in the words of v1.
    pub(crate) async fn status(&self, status: &Status) -> Reply<()> {
        self.call::<_, Updated>(Method::POST, "status", Some(status)).await.map(drop)
    }

    /// How the host's tests get on, in the words of v1.
    pub(crate) async fn test_progress(&self, progress: &TestProgress) -> Reply<()> {
        self.call::<_, Updated>(Method::POST, "test-progress", Some(progress)).await.map(drop)
    }

    /// Where a switch stands; answers with how much of its output the dashboard has.
    pub(crate) async fn report(&self, report: &SwitchReport) -> Reply<u64> {
        let path = format!("switches/{}", report.id);
        let recorded: SwitchRecorded = self.call(Method::PUT, &path, Some(report)).await?;
        Ok(recorded.output_offset)
    }

    /// A piece of a switch's output, without tokens; answers with where to go on, also when the piece left a gap.
    pub(crate) async fn output(&self, switch: SwitchId, offset: u64, piece: Vec<u8>) -> Reply<u64> {
        let path = format!("switches/{switch}/output?offset={offset}");
        let recorded: OutputRecorded = self
            .exchange(Call {
                body: Some(("application/octet-stream", piece)),
                also_answers: Some(StatusCode::CONFLICT),
                ..Call::new(Method::POST, &path)
            })
            .await?;
        Ok(recorded.output_offset)
    }

    /// A look-after that no switch was the reason for.
    pub(crate) async fn healing(&self, healing: &Healing) -> Reply<()> {
        let path = format!("healings/{}", healing.id);
        self.call::<_, HealingRecorded>(Method::PUT, &path, Some(healing)).await.map(drop)
    }

    /// How many seconds this host's clock is ahead of the dashboard's, once an answer has said a date.
    pub(crate) fn clock_ahead(&self) -> Option<i64> {
        self.clock.ahead()
    }

    /// The token that the dashboard gave this host, if it has.
    pub(crate) fn own_token(&self) -> Option<Token> {
        self.credentials().own().cloned()
    }

    /// Takes over a token of the host's own. It must be on disk already.
    pub(crate) fn adopt(&self, token: Token) {
        self.known_tokens.learn(&token);
        // A dashboard that gives many must not make the operator's one forgotten.
        let mut credentials = self.credentials();
        if let Some(token) = credentials.operators() {
            self.known_tokens.learn(token);
        }
        credentials.adopt(token);
    }

    /// Sees whether the machine has slept since the last time. If so, all connections are made anew, and the calls that were
    /// under way are given up.
    pub(crate) fn has_slept(&self) -> bool {
        let mut sleep = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slept) = sleep.slept(Timestamp::now(), Instant::now()) else { return false };
        let seconds = slept.as_secs();
        tracing::info!(seconds, "the machine has slept, or its clock was set; connecting anew");
        self.connections.renew();
        true
    }

    async fn call<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Reply<T> {
        let body = body.map(|body| self.json(body)).transpose()?;
        let body = body.map(|body| ("application/json", body));
        self.exchange(Call { body, ..Call::new(method, path) }).await
    }

    /// A body without tokens. What is told of a switch may have one in it that its wrapper did not know.
    fn json(&self, body: &impl Serialize) -> Reply<Vec<u8>> {
        let failed = |error| Failure::unreachable(format!("the report cannot be written: {error}"));
        let mut value = serde_json::to_value(body).map_err(failed)?;
        without_tokens(&mut value, &self.known_tokens.redactor());
        serde_json::to_vec(&value).map_err(failed)
    }

    /// Makes a call, and classifies and reads what is answered.
    async fn exchange<T: DeserializeOwned>(&self, call: Call<'_>) -> Reply<T> {
        let answered = async {
            let token = self.token().await?;
            self.exchange_with(call, &token).await
        };
        let reply = tokio::select! {
            reply = answered => reply,
            () = self.connections.renewed() => {
                Err(Failure::unreachable("the machine has slept since the call began".to_owned()))
            }
        };
        reply.map_err(|failure| failure.map_words(|words| self.known_tokens.redact(&words)))
    }

    async fn exchange_with<T: DeserializeOwned>(&self, call: Call<'_>, token: &Token) -> Reply<T> {
        let url = format!("{}{}", self.host, call.path);
        let mut request = self.connections.client().request(call.method, url).timeout(call.limit);
        request = request.headers(authorization(token));
        if let Some((kind, body)) = call.body {
            request = request.header(CONTENT_TYPE, kind).body(body);
        }
        let response = request.send().await.map_err(|error| self.unanswered(&error))?;
        self.clock.read(response.headers());
        let status = response.status();
        if status.is_success() || Some(status) == call.also_answers {
            let value = parse(status, &body(response).await?)?;
            self.credentials().accepted(token);
            return Ok(value);
        }
        let after = retry_after::of(response.headers());
        // What it said is only for the log and for the refusal mark; not having it changes nothing.
        let said = body(response).await.unwrap_or_default();
        let mut failure = failure::of_status(status, after, &said);
        if let Failure::Unauthorized { has_other, .. } = &mut failure {
            *has_other = self.refused(token).await;
        }
        Err(failure)
    }

    /// Why there was no answer at all. Where a proxy is in the way, it may be the one that is not there.
    fn unanswered(&self, error: &reqwest::Error) -> Failure {
        if error.is_timeout() {
            self.connections.forget_idle();
        }
        let proxy = self.proxy_variable.filter(|_| error.is_connect());
        network(error).map_words(|why| match proxy {
            Some(variable) => format!("{why}; mind that {variable} names a proxy"),
            None => why,
        })
    }

    /// The token for a call. A file that has changed is read before.
    async fn token(&self) -> Reply<Token> {
        if let Some(token) = self.operator.changed().await {
            self.known_tokens.learn(&token);
            self.credentials().renew(token);
        }
        if let Some(token) = self.credentials().current() {
            return Ok(token.clone());
        }
        match self.operator.first().await {
            Ok(token) => {
                self.known_tokens.learn(&token);
                self.credentials().renew(token.clone());
                Ok(token)
            }
            Err(why) => {
                self.credentials().give_up_operators();
                Err(Failure::unreachable(why))
            }
        }
    }

    /// This token was not taken. Whether there is another to try at once.
    async fn refused(&self, token: &Token) -> bool {
        let (is_operators, has_other) = {
            let mut credentials = self.credentials();
            (credentials.operators() == Some(token), credentials.refused(token))
        };
        if !is_operators {
            return has_other;
        }
        let Some(other) = self.operator.instead_of(token).await else { return has_other };
        self.known_tokens.learn(&other);
        self.credentials().replace(other);
        true
    }

    fn credentials(&self) -> std::sync::MutexGuard<'_, Credentials> {
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn authorization(token: &Token) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // A token is visible ASCII, so it is always a header's value.
    if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", token.reveal())) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    headers
}

/// Takes tokens out of all texts. Names of fields are ours.
fn without_tokens(value: &mut Value, redactor: &Redactor) {
    match value {
        Value::String(text) => *text = redactor.redact(text),
        Value::Array(values) => {
            for value in values {
                without_tokens(value, redactor);
            }
        }
        Value::Object(fields) => {
            for value in fields.values_mut() {
                without_tokens(value, redactor);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An answer whose content does not matter. That it is an object does: the login page of a hotel is none.
type JsonObject = serde_json::Map<String, Value>;

fn host_url(dashboard: &Url, host: &str) -> Url {
    let mut url = dashboard.clone();
    url.set_path(&format!("{}api/hosts/{host}/", dashboard.path()));
    url
}

fn network(error: &reqwest::Error) -> Failure {
    // reqwest's own text repeats the whole URL; which host it is stands in the log line already.
    let cause = std::error::Error::source(error).map(messages::with_causes);
    let why = if error.is_timeout() {
        "it did not answer in time".to_owned()
    } else {
        cause.unwrap_or_else(|| "the connection broke".to_owned())
    };
    Failure::unreachable(why)
}

/// Reads a body, and refuses it while reading when it gets too long.
async fn body(mut response: Response) -> Reply<Vec<u8>> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| network(&error))? {
        if body.len() + piece.len() > MAX_ANSWER_BYTES {
            let why = format!("its answer is longer than {MAX_ANSWER_BYTES} bytes");
            return Err(Failure::nonsense(status, why));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn parse<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Reply<T> {
    serde_json::from_slice(body).map_err(|error| {
        let why = if failure::is_web_page(body) {
            failure::WEB_PAGE.to_owned()
        } else {
            format!("its answer makes no sense: {error}")
        };
        Failure::nonsense(status.as_u16(), why)
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        command_line::Flags,
        settings::{Environment, Origin},
    };

    fn client(dashboard: SocketAddr) -> DashboardClient {
        let url = format!("http://{dashboard}");
        let environment = Environment::of(&[
            ("NIXFLEET_URL", &url),
            ("NIXFLEET_ALLOW_INSECURE_HTTP", "true"),
            ("NIXFLEET_TOKEN", "s3cret-value"),
            ("NIXFLEET_HOSTNAME", "mac"),
            ("HOME", "/nonexistent"),
        ]);
        let settings = Origin::new(Flags::default(), environment).load().checked.unwrap();
        DashboardClient::new(&settings, None, KnownTokens::default()).unwrap()
    }

    #[test]
    fn a_dashboard_below_a_path_is_spoken_to_there() {
        for (dashboard, expected) in [
            ("https://a.example/", "https://a.example/api/hosts/mac/"),
            ("https://a.example/fleet/", "https://a.example/fleet/api/hosts/mac/"),
        ] {
            assert_eq!(host_url(&dashboard.parse().unwrap(), "mac").as_str(), expected);
        }
    }

    #[tokio::test]
    async fn a_call_that_was_under_way_during_a_sleep_is_given_up_and_the_next_connects_anew() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(listener.local_addr().unwrap());
        for _ in 0..2 {
            let asleep = async {
                // It stays open, and nobody answers.
                let connection = listener.accept().await.unwrap();
                connection.0.readable().await.unwrap();
                client.connections.renew();
                connection
            };
            let (polled, _connection) = tokio::join!(client.poll(), asleep);
            let failure = polled.unwrap_err();
            assert!(failure.explanation().contains("has slept"), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn what_is_sent_has_no_token_in_it() {
        let client = client(SocketAddr::from(([127, 0, 0, 1], 1)));
        let report = json!({"output_tail": "it was s3cret-value", "s3cret-value": [1, null, "s3cret-value."]});
        let sent = String::from_utf8(client.json(&report).unwrap()).unwrap();
        assert!(sent.contains("it was [secret removed]"), "{sent}");
        assert_eq!(sent.matches("s3cret-value").count(), 1, "{sent}");
    }
}
