//! The agent of the old way, for comparison: it speaks v1 and runs home-manager as its child, through pipes.
//!
//! It reads the same config as the real agent, and shows what becomes of a switch when home-manager boots the agent
//! out: the child dies with it, and the result with both.

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use nixfleet_protocol::{
    config_file::{self, ConfigFile},
    wire::{
        fields::{DeviceType, HostType, Text},
        v1::{Output, Register, Registered, Status, StatusWord},
    },
};

type Trouble = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(Trouble::from).and_then(|runtime| runtime.block_on(run()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "its log is its standard error")]
fn report(text: &str) {
    eprintln!("old-way-agent: {text}");
}

async fn run() -> Result<(), Trouble> {
    let path = env::args().skip_while(|word| word != "--config").nth(1).ok_or("no --config")?;
    let config = config_file::load(&PathBuf::from(path))?.file;
    let agent = Agent::new(config)?;
    loop {
        match agent.heartbeat().await {
            Ok(Some(command)) if command == "switch" => agent.switch().await?,
            Ok(_) => {}
            Err(error) => report(&error.to_string()),
        }
        tokio::time::sleep(agent.interval).await;
    }
}

struct Agent {
    client: reqwest::Client,
    base: String,
    token: String,
    host: String,
    home_manager: PathBuf,
    interval: Duration,
}

impl Agent {
    fn new(config: ConfigFile) -> Result<Self, Trouble> {
        let url = config.url.ok_or("no url")?;
        let host = config.hostname.ok_or("no hostname")?;
        let token = std::fs::read_to_string(config.token_file.ok_or("no token_file")?)?;
        Ok(Self {
            client: reqwest::Client::builder()
                .timeout(Duration::from_secs(10))
                .no_proxy()
                .build()?,
            base: format!("{url}/api/hosts/{host}"),
            token: token.trim().to_owned(),
            host,
            home_manager: config.home_manager.ok_or("no home_manager")?,
            interval: Duration::from_secs(u64::from(config.interval.unwrap_or(30))),
        })
    }

    async fn heartbeat(&self) -> Result<Option<String>, Trouble> {
        let register = Register {
            hostname: self.host.parse()?,
            host_type: HostType::Macos,
            location: None,
            device_type: DeviceType::Laptop,
            theme_color: None,
            criticality: None,
            current_generation: None,
            config_repo: None,
            poll_interval: None,
            agent_version: Some(Text::new("1.0.0")?),
            nixpkgs_version: None,
            os_version: None,
            os_name: None,
            metrics: None,
            protocol: None,
        };
        let url = format!("{}/register", self.base);
        let request = self.client.post(url).bearer_auth(&self.token).json(&register);
        let registered: Registered = request.send().await?.error_for_status()?.json().await?;
        Ok(registered.command)
    }

    async fn switch(&self) -> Result<(), Trouble> {
        let output =
            tokio::process::Command::new(&self.home_manager).arg("switch").output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let word = if output.status.success() { StatusWord::Ok } else { StatusWord::Error };
        let status = Status {
            status: word,
            current_generation: None,
            output: Some(Output::tail(&text)),
            test_status: None,
            comment: None,
        };
        let url = format!("{}/status", self.base);
        self.client.post(url).bearer_auth(&self.token).json(&status).send().await?;
        Ok(())
    }
}
