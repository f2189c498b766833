//! The dashboard over HTTP: one function per call, each bounded in time and size, each answer classified.
//!
//! Nothing is retried and nothing is decided here, beyond which of the two tokens a call carries.

mod credentials;
mod failure;
mod retry_after;
mod server_clock;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use nixfleet_protocol::{
    journal::records::{Healing, SwitchId},
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
    Client, Method, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect,
};
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use failure::{Failure, FailureKind};

use crate::{messages, settings::Settings};
use credentials::Credentials;
use server_clock::ServerClock;

/// How long to wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long a call may take in all.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// How long the dashboard may hold a poll.
const POLL_WAIT: Duration = Duration::from_secs(25);

/// What a poll may take beyond that.
const POLL_SURPLUS: Duration = Duration::from_secs(10);

/// An unused connection is kept so long: a little more than the usual heartbeat interval.
const KEEP_IDLE: Duration = Duration::from_secs(75);

/// What a call comes to.
pub(crate) type Reply<T> = Result<T, Failure>;

/// The dashboard.
#[derive(Debug)]
pub(crate) struct DashboardClient {
    http: Client,
    host: Url,
    credentials: Mutex<Credentials>,
    clock: ServerClock,
}

impl DashboardClient {
    /// A client for the dashboard of the settings. `host_token` is the one that it gave this host before.
    pub(crate) fn new(settings: &Settings, host_token: Option<Token>) -> reqwest::Result<Self> {
        let mut http = Client::builder()
            .user_agent(concat!("nixfleet-agent/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_LIMIT)
            .timeout(CALL_LIMIT)
            .pool_idle_timeout(KEEP_IDLE);
        for certificate in &settings.certificates {
            http = http.add_root_certificate(certificate.clone());
        }
        Ok(Self {
            http: http.build()?,
            host: host_url(&settings.url, settings.hostname.as_str()),
            credentials: Mutex::new(Credentials::new(settings.token.clone(), host_token)),
            clock: ServerClock::default(),
        })
    }

    /// Registration, heartbeat, and on v1 the command poll.
    pub(crate) async fn register(&self, register: &Register) -> Reply<Registered> {
        self.call(Method::POST, "register", Some(register)).await
    }

    /// Waits for a command.
    pub(crate) async fn poll(&self) -> Reply<Polled> {
        let wait = POLL_WAIT.as_secs();
        let (request, token) = self.request(Method::GET, &format!("poll?wait={wait}"));
        let response = self.send(request.timeout(POLL_WAIT + POLL_SURPLUS)).await?;
        self.read(response, &token).await
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

    /// A piece of a switch's output; answers with where to go on, also when the piece left a gap.
    pub(crate) async fn output(&self, switch: SwitchId, offset: u64, piece: Vec<u8>) -> Reply<u64> {
        let path = format!("switches/{switch}/output?offset={offset}");
        let (request, token) = self.request(Method::POST, &path);
        let request = request.header(CONTENT_TYPE, "application/octet-stream").body(piece);
        let response = self.send(request).await?;
        let status = response.status();
        if status == StatusCode::CONFLICT {
            let recorded: OutputRecorded = parse(status, &body(response).await?)?;
            return Ok(recorded.output_offset);
        }
        let recorded: OutputRecorded = self.read(response, &token).await?;
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

    /// Takes over a token of the host's own. It must be on disk already.
    pub(crate) fn adopt(&self, token: Token) {
        self.credentials().adopt(token);
    }

    /// The tokens in use, so that they are kept out of results.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        self.credentials().all()
    }

    async fn call<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Reply<T> {
        let (mut request, token) = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = self.send(request).await?;
        self.read(response, &token).await
    }

    fn request(&self, method: Method, path: &str) -> (RequestBuilder, Token) {
        let token = self.credentials().current().clone();
        let mut headers = HeaderMap::new();
        // A token is visible ASCII, so it is always a header's value.
        if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", token.reveal())) {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let url = format!("{}{path}", self.host);
        (self.http.request(method, url).headers(headers), token)
    }

    async fn send(&self, request: RequestBuilder) -> Reply<Response> {
        let response = request.send().await.map_err(|error| network(&error))?;
        self.clock.read(response.headers());
        Ok(response)
    }

    /// Classifies an answer and reads its body.
    async fn read<T: DeserializeOwned>(&self, response: Response, token: &Token) -> Reply<T> {
        let status = response.status();
        if status.is_success() {
            let value = parse(status, &body(response).await?)?;
            self.credentials().accepted(token);
            return Ok(value);
        }
        let after = retry_after::of(response.headers());
        // What it said is only for the log and for the refusal mark; not having it changes nothing.
        let said = body(response).await.unwrap_or_default();
        Err(failure::of_status(status, after, &said, || self.credentials().refused(token)))
    }

    fn credentials(&self) -> std::sync::MutexGuard<'_, Credentials> {
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer whose content does not matter. That it is an object does: the login page of a hotel is none.
type JsonObject = serde_json::Map<String, serde_json::Value>;

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
        Failure::nonsense(status.as_u16(), format!("its answer makes no sense: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dashboard_below_a_path_is_spoken_to_there() {
        for (dashboard, expected) in [
            ("https://a.example/", "https://a.example/api/hosts/mac/"),
            ("https://a.example/fleet/", "https://a.example/fleet/api/hosts/mac/"),
        ] {
            assert_eq!(host_url(&dashboard.parse().unwrap(), "mac").as_str(), expected);
        }
    }
}
