//! Writing and reading the journal beside the agent, as wrappers do.

use std::path::Path;

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::{
        atomic,
        lock::{Holder, Lock},
        records::{
            Activation, AgentVerdict, FORMAT, Healing, HealingCause, HealingId, Initiator, Outcome,
            Reload, Request, Started, SwitchId, SwitchResult,
        },
        store::Journal,
    },
    operation::Operation,
    process::{self, ProcessIdentity},
    state_dir::{HealingDir, StateDir, SwitchDir},
    switch_kind::SwitchKind,
};

pub(crate) fn open(state: &Path) -> Journal {
    Journal::new(StateDir::prepare(state).unwrap())
}

pub(crate) fn directory(state: &Path, id: SwitchId) -> SwitchDir {
    open(state).directory().switch(id)
}

/// A request that was accepted this many seconds ago.
pub(crate) fn accept(state: &Path, initiator: Initiator, age_seconds: i64) -> SwitchId {
    let id = SwitchId::generate();
    open(state)
        .accept(&Request {
            format: FORMAT,
            id,
            initiator,
            command_id: None,
            operation: Operation::default(),
            kind: SwitchKind::default(),
            argv: vec!["--flake".to_owned()],
            cwd: "/".into(),
            requested_at: Timestamp::now() - jiff::SignedDuration::from_secs(age_seconds),
            host: "host".to_owned(),
        })
        .unwrap();
    id
}

pub(crate) fn start(state: &Path, id: SwitchId, child: ProcessIdentity, wrapper: ProcessIdentity) {
    let started = Started {
        format: FORMAT,
        id,
        child,
        wrapper,
        boot_id: process::boot_id().unwrap(),
        started_at: Timestamp::now(),
        generation_before: None,
    };
    atomic::create_once(&directory(state, id).started(), &started).unwrap();
}

pub(crate) fn end(state: &Path, id: SwitchId, outcome: Outcome) {
    let exit_code = match outcome {
        Outcome::Succeeded => Some(0),
        Outcome::Failed => Some(1),
        Outcome::TimedOut | Outcome::Cancelled | Outcome::Interrupted | Outcome::NotStarted => None,
    };
    let result = SwitchResult {
        format: FORMAT,
        id,
        outcome,
        exit_code,
        signal: None,
        started_at: Timestamp::now(),
        finished_at: Timestamp::now(),
        duration_ms: 1200,
        operation: Operation::default(),
        kind: SwitchKind::default(),
        argv: Vec::new(),
        initiator: Initiator::User,
        generation_before: None,
        generation_after: None,
        activation: Activation::Unknown,
        output_bytes: 0,
        output_tail: "the end".to_owned(),
        wrapper_version: "test".to_owned(),
        host: "host".to_owned(),
        steps: None,
        note: None,
    };
    atomic::create_once(&directory(state, id).result(), &result).unwrap();
}

pub(crate) fn reload(state: &Path, id: SwitchId) {
    let reload = Reload {
        format: FORMAT,
        switch: Some(id),
        verdict: AgentVerdict::Healthy,
        explanation: "it ran all along".to_owned(),
        began_at: Timestamp::now(),
        duration_ms: 1,
        agent_pid: None,
        steps: Vec::new(),
    };
    atomic::create_once(&directory(state, id).reload(), &reload).unwrap();
}

/// A whole switch of a user's.
pub(crate) fn finished(state: &Path, outcome: Outcome) -> SwitchId {
    // As a wrapper does: a user's request without the lock is one whose wrapper is gone, and the agent closes it.
    let _lock = Lock::take(&open(state).directory().switch_lock()).unwrap();
    let id = accept(state, Initiator::User, 1);
    reload(state, id);
    end(state, id, outcome);
    id
}

/// Holds the switch lock as the wrapper of this switch does.
pub(crate) fn hold_lock(state: &Path, switch: SwitchId) -> Lock {
    let mut lock = Lock::take(&open(state).directory().switch_lock()).unwrap();
    lock.name_holder(&Holder {
        process: ProcessIdentity::current().unwrap(),
        switch,
        initiator: Initiator::User,
        operation: Operation::default(),
        kind: SwitchKind::default(),
        argv: Vec::new(),
        since: Timestamp::now(),
    })
    .unwrap();
    lock
}

/// A watchdog's healing.
pub(crate) fn healing() -> Healing {
    Healing {
        format: FORMAT,
        id: HealingId::generate(),
        cause: HealingCause::AgentMissing,
        missed_for_ms: Some(12_000),
        reload: Reload {
            format: FORMAT,
            switch: None,
            verdict: AgentVerdict::Back,
            explanation: "it was started".to_owned(),
            began_at: Timestamp::now(),
            duration_ms: 300,
            agent_pid: Some(7),
            steps: Vec::new(),
        },
        host: "host".to_owned(),
    }
}

/// Writes one down.
pub(crate) fn heal(state: &Path) -> HealingId {
    let healing = healing();
    open(state).record_healing(&healing).unwrap();
    healing.id
}

pub(crate) fn healing_directory(state: &Path, id: HealingId) -> HealingDir {
    open(state).directory().healing(id)
}
