//! The same for people: plain columns that read well with and without a terminal.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{Agent, Dashboard, Status, TokenSource, Waiting, Work, judge::said};

pub(super) fn of(status: &Status, now: Timestamp) -> String {
    let mut text = String::new();
    line(&mut text, "agent", &agent(status, now));
    line(&mut text, "dashboard", &dashboard(&status.dashboard));
    if let Some(failing) = &status.dashboard.failing {
        let failed = format!("{} since {}: {}", failing.call, said(failing.since), failing.why);
        line(&mut text, "fails", &failed);
    }
    if let Some(next) = status.dashboard.next_try_at {
        line(&mut text, "next", &said(next));
    }
    if let Some(token) = &status.token {
        line(&mut text, "token", &self::token(token));
    }
    if let Some(ahead) = status.dashboard.clock_ahead_seconds.filter(|ahead| *ahead != 0) {
        let way = if ahead > 0 { "ahead of" } else { "behind" };
        line(&mut text, "clock", &format!("{} s {way} the dashboard's", ahead.unsigned_abs()));
    }
    line(&mut text, "work", &status.work.as_ref().map_or_else(|| "none".to_owned(), work));
    line(&mut text, "waiting", &waiting(&status.waiting));
    for attention in &status.attention {
        let remedy = attention.remedy.map(|remedy| format!("; run `{remedy}`"));
        line(&mut text, "ATTENTION", &format!("{}{}", attention.text, remedy.unwrap_or_default()));
    }
    text
}

fn line(text: &mut String, label: &str, value: &str) {
    // What others have said may have lines of its own. Writing to a `String` cannot fail.
    let _ = writeln!(text, "{label:<10} {}", value.replace(char::is_control, " "));
}

fn agent(status: &Status, now: Timestamp) -> String {
    let Some(Agent { pid, version, started_at, last_sign_of_life_at, .. }) = &status.agent else {
        return "none has run here yet".to_owned();
    };
    if !status.running {
        return format!("not running; the last one was pid {pid}, version {version}");
    }
    let sign = last_sign_of_life_at
        .map(|at| format!(", last sign of life {} s ago", now.duration_since(at).as_secs().max(0)));
    let since = said(*started_at);
    format!("running since {since}, pid {pid}, version {version}{}", sign.unwrap_or_default())
}

fn dashboard(dashboard: &Dashboard) -> String {
    let url = dashboard.url.as_deref().unwrap_or("not known");
    let mut text = format!("{url}, as {}", dashboard.host);
    if let Some(protocol) = dashboard.protocol {
        let _ = write!(text, ", protocol {protocol}");
    }
    match dashboard.last_heartbeat_at {
        Some(at) => {
            let _ = write!(text, ", last heartbeat {}", said(at));
        }
        None => text.push_str(", no heartbeat yet"),
    }
    text
}

fn token(token: &TokenSource) -> String {
    let own = if token.has_own { "; this host has one of its own, which is used" } else { "" };
    format!("{}, by {}{own}", token.place, token.named_by)
}

fn work(work: &Work) -> String {
    let mut text = format!("{} is {}", work.operation, work.phase);
    if let Some(step) = work.step {
        let _ = write!(text, " at the step `{step}`");
    }
    if let Some(since) = work.requested_at {
        let _ = write!(text, ", asked for at {}", said(since));
    }
    let _ = write!(text, " ({})", work.id);
    text
}

fn waiting(waiting: &Waiting) -> String {
    let counts: Vec<String> = [
        (waiting.to_start.len(), "to be started"),
        (waiting.results.len(), "results"),
        (waiting.commands, "commands"),
        (waiting.healings, "healings"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{what}: {count}"))
    .collect();
    if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") }
}
