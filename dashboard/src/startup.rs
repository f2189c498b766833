//! From settings to a running server, and back to an exit code.

use std::{
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    sync::Arc,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::{
    context::Dashboard,
    limits::SPARE_FILES,
    liveness::{self, Liveness},
    server,
    settings::{Settings, SettingsError},
    store::{FileError, OpenError, Store},
    with_sources,
};

/// Why the dashboard does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The tokens.
    #[error(transparent)]
    Settings(SettingsError),
    /// The database.
    #[error(transparent)]
    Database(OpenError),
    /// The address.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something that every program gets.
    #[error("cannot {doing}")]
    System {
        /// What was tried, as the rest of "cannot".
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl StartError {
    /// As in `sysexits.h`.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) => 78,
            Self::Database(OpenError::File(FileError::InUse { .. })) => 75,
            Self::Database(
                OpenError::File(FileError::Open { .. })
                | OpenError::Connect { .. }
                | OpenError::Migrate { .. },
            ) => 74,
            Self::Listen { .. } | Self::System { .. } => 71,
        }
    }
}

/// Logs to standard error; standard output is for the address alone.
pub(crate) fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("NIXFLEET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn serve_until_signal(settings: Settings) -> Result<(), StartError> {
    // One thread: SQLite has threads of its own, and the rest is short.
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| StartError::System { doing: "start the runtime", source })?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: Settings) -> Result<(), StartError> {
    let stopping = stop_at_signal()?;
    let store = Store::open(&settings.database).await.map_err(StartError::Database)?;
    let failed = |source| StartError::Listen { address: settings.listen, source };
    let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let max_connections = make_room_for(settings.max_connections);
    let dashboard =
        Arc::new(Dashboard::new(&settings, store, Liveness::default(), stopping.clone()));
    announce(address)?;
    let saving = liveness::keep_saving(&dashboard, stopping.clone());
    let serving = server::run(listener, max_connections, Arc::clone(&dashboard), stopping);
    let (served, ()) = tokio::join!(serving, saving);
    // Requests that came in while it was told to stop may have been the last sign of a host.
    if let Err(error) = dashboard.liveness.save(&dashboard.store).await {
        warn!(error = with_sources(&error), "the newest last-seen times are lost");
    }
    dashboard.store.close().await;
    info!("stopped");
    served.map_err(failed)
}

/// A flag that turns true at SIGTERM or SIGINT.
fn stop_at_signal() -> Result<watch::Receiver<bool>, StartError> {
    let listen = |kind| {
        signal(kind).map_err(|source| StartError::System { doing: "listen for signals", source })
    };
    let (terminate, interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        first_of(terminate, interrupt).await;
        info!("stopping");
        // Without a receiver there is nothing left to stop.
        let _ = sender.send(true);
    });
    Ok(receiver)
}

async fn first_of(mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Raises the limit of open files as far as that many connections need; says how many connections fit.
fn make_room_for(connections: u32) -> usize {
    let wanted = u64::from(connections) + SPARE_FILES;
    let limit = getrlimit(Resource::Nofile);
    let reachable = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let mut current = limit.current.unwrap_or(u64::MAX);
    if current < reachable {
        let raised = Rlimit { current: Some(reachable), maximum: limit.maximum };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => current = reachable,
            Err(error) => warn!(%error, "cannot raise the limit of open files"),
        }
    }
    if current < wanted {
        warn!(open_files = current, connections, "fewer connections fit than were asked for");
    }
    let fitting = current.min(wanted).saturating_sub(SPARE_FILES).max(1);
    usize::try_from(fitting).unwrap_or(usize::MAX)
}

/// Says where it listens, for people and for programs that took port 0.
fn announce(address: SocketAddr) -> Result<(), StartError> {
    if !address.ip().is_loopback() {
        warn!(%address, "plain HTTP on an address that others reach: tokens need TLS before them");
    }
    info!(%address, "listening");
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on http://{address}")
        .and_then(|()| stdout.flush())
        .map_err(|source| StartError::System { doing: "print the address", source })
}
