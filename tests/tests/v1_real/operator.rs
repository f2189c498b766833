//! An operator who is logged in at the dashboard's page.

use nixfleet_tests::stage::wait;
use reqwest::{Client, Method, RequestBuilder, Response, header, redirect};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::Real;

pub(crate) struct Operator {
    url: String,
    cookie: String,
    csrf: String,
    client: Client,
    runtime: Runtime,
}

/// A command as the dashboard keeps it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    id: u64,
    pub(crate) command: String,
    pub(crate) status: String,
    pub(crate) output: Option<String>,
    pub(crate) completed_at: Option<String>,
}

impl Operator {
    pub(crate) fn log_in(real: &Real) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // It ends a connection that is idle for five seconds, perhaps just when the next call begins.
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()
            .unwrap();
        let mut operator = Self {
            url: real.url.clone(),
            cookie: String::new(),
            csrf: String::new(),
            client,
            runtime,
        };
        let form = operator
            .client
            .post(format!("{}/login", operator.url))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(format!("password={}&totp=", real.password));
        let (answer, _page) = operator.send(form);
        let cookie = answer.get(header::SET_COOKIE).unwrap().to_str().unwrap();
        cookie.split(';').next().unwrap().clone_into(&mut operator.cookie);
        let (_answer, page) = operator.send(operator.get("/"));
        let token = page.split("const csrfToken = '").nth(1).unwrap().split('\'').next().unwrap();
        token.clone_into(&mut operator.csrf);
        operator
    }

    fn send(&self, request: RequestBuilder) -> (header::HeaderMap, String) {
        self.runtime.block_on(async {
            let answer: Response = request.send().await.unwrap().error_for_status().unwrap();
            (answer.headers().clone(), answer.text().await.unwrap())
        })
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url)).header(header::COOKIE, &self.cookie)
    }

    fn json(&self, request: RequestBuilder) -> Value {
        serde_json::from_str(&self.send(request).1).unwrap()
    }

    /// Does something that the page protects: it wants the session's own word as well.
    fn change(&self, method: Method, path: &str, body: &Value) -> Value {
        let request = self
            .client
            .request(method, format!("{}{path}", self.url))
            .header(header::COOKIE, &self.cookie)
            .header("X-CSRF-Token", &self.csrf)
            .json(body);
        self.json(request)
    }

    /// Queues a command.
    pub(crate) fn queue(&self, host: &str, command: &str) {
        let path = format!("/api/hosts/{host}/command");
        let queued = self.change(Method::POST, &path, &json!({ "command": command }));
        assert_eq!(queued["status"], "queued", "{command}");
    }

    /// Deletes the host.
    pub(crate) fn delete(&self, host: &str) {
        self.change(Method::DELETE, &format!("/api/hosts/{host}"), &json!({}));
    }

    /// Makes a new token for the host, which nobody tells it.
    pub(crate) fn rotate_token(&self, host: &str) {
        let path = format!("/api/hosts/{host}/agent-token");
        assert_eq!(self.change(Method::POST, &path, &json!({}))["status"], "ok");
    }

    /// The host's row.
    pub(crate) fn host(&self, host: &str) -> Value {
        let hosts = self.json(self.get("/api/hosts"));
        let mut rows = hosts["hosts"].as_array().unwrap().iter();
        rows.find(|row| row["id"] == host).cloned().unwrap_or_default()
    }

    /// The host's commands, newest first.
    pub(crate) fn rows(&self, host: &str) -> Vec<Row> {
        let logs = self.json(self.get(&format!("/api/hosts/{host}/logs?limit=100")));
        serde_json::from_value(logs["logs"].clone()).unwrap()
    }

    /// Waits until the host can be sent commands.
    pub(crate) fn wait_until_online(&self, host: &str) {
        wait::until_true("the host is online", wait::PATIENCE, || {
            Ok(self.host(host)["online"] == true)
        })
        .unwrap();
    }

    /// Queues a command and waits until the agent has it; its row.
    pub(crate) fn deliver(&self, host: &str, command: &str) -> Row {
        let before = self.rows(host).len();
        self.queue(host, command);
        wait::until(&format!("{command} is delivered"), wait::PATIENCE, || {
            let rows = self.rows(host);
            Ok((rows.len() > before).then(|| rows.into_iter().next()).flatten())
        })
        .unwrap()
    }

    /// The row as it is now.
    pub(crate) fn again(&self, host: &str, row: &Row) -> Row {
        self.rows(host).into_iter().find(|other| other.id == row.id).unwrap()
    }

    /// Waits until the row is closed, and says what it says.
    #[expect(clippy::print_stderr, reason = "what whoever runs the script has come to see")]
    pub(crate) fn wait_until_closed(&self, host: &str, row: &Row) -> Row {
        let what = format!("the row of {} on {host} is closed", row.command);
        let row = wait::until(&what, wait::PATIENCE, || {
            Ok(Some(self.again(host, row)).filter(|row| row.completed_at.is_some()))
        })
        .unwrap();
        eprintln!("  {host}: {row}");
        row
    }

    /// Asks for a command and waits for its end.
    pub(crate) fn ask(&self, host: &str, command: &str) -> Row {
        let row = self.deliver(host, command);
        self.wait_until_closed(host, &row)
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first_line = self.output.as_deref().unwrap_or_default().lines().next();
        write!(
            formatter,
            "{:<12} {:<8} {}",
            self.command,
            self.status,
            first_line.unwrap_or_default()
        )
    }
}
