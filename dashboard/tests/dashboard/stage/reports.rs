//! What an agent that speaks the superset says of its switches.

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::records::{
        Activation, AgentVerdict, FORMAT, Healing, HealingCause, HealingId, Initiator, Outcome,
        Reload, ReloadStep, SwitchId, SwitchResult,
    },
    operation::Operation,
    switch_kind::SwitchKind,
    wire::v2::{SwitchReport, SwitchState},
};

use super::{Dashboard, Reply};

pub(crate) fn result(id: SwitchId, outcome: Outcome, exit_code: Option<i32>) -> SwitchResult {
    SwitchResult {
        format: FORMAT,
        id,
        outcome,
        exit_code,
        signal: None,
        started_at: at(2),
        finished_at: at(9),
        duration_ms: 7000,
        operation: Operation::default(),
        kind: SwitchKind::default(),
        argv: vec!["--flake".to_owned(), ".".to_owned()],
        initiator: Initiator::Agent,
        generation_before: Some("1".to_owned()),
        generation_after: Some("2".to_owned()),
        activation: Activation::Complete,
        output_bytes: 3,
        output_tail: "the end".to_owned(),
        wrapper_version: "0.1.0".to_owned(),
        host: "mac".to_owned(),
        steps: None,
        note: None,
    }
}

pub(crate) fn reload(verdict: AgentVerdict) -> Reload {
    Reload {
        format: FORMAT,
        switch: None,
        verdict,
        explanation: "as it should be".to_owned(),
        began_at: at(9),
        duration_ms: 400,
        agent_pid: Some(42),
        steps: Vec::new(),
    }
}

pub(crate) fn healing(cause: HealingCause, second: i64) -> Healing {
    let step = ReloadStep {
        at_ms: 3,
        step: "kickstart".to_owned(),
        argv: vec!["launchctl".to_owned(), "kickstart".to_owned()],
        exit_code: Some(0),
        said: String::new(),
    };
    Healing {
        format: FORMAT,
        id: HealingId::generate(),
        cause,
        missed_for_ms: Some(12_000),
        reload: Reload { began_at: at(second), steps: vec![step], ..reload(AgentVerdict::Back) },
        host: "mac".to_owned(),
    }
}

pub(crate) fn finished(result: SwitchResult, reload: Option<Reload>) -> SwitchState {
    SwitchState::Finished { result: Box::new(result), reload: reload.map(Box::new) }
}

pub(crate) fn running() -> SwitchState {
    SwitchState::Running { started_at: at(2), steps: None, phase: None }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_400_000 + second).unwrap()
}

impl Dashboard {
    pub(crate) fn heal(&self, host: &str, healing: &Healing) -> Reply {
        let body = serde_json::to_string(healing).unwrap();
        let path = format!("/api/hosts/{host}/healings/{}", healing.id);
        self.agent("PUT", &path).json(&body).send()
    }

    pub(crate) fn report(
        &self,
        host: &str,
        id: SwitchId,
        command: Option<&str>,
        state: SwitchState,
    ) -> Reply {
        let initiator = if command.is_some() { Initiator::Agent } else { Initiator::User };
        let command_id = command.map(|command| command.parse().unwrap());
        let operation = Operation::Switch;
        let report =
            SwitchReport { id, command_id, operation, initiator, requested_at: at(1), state };
        let body = serde_json::to_string(&report).unwrap();
        self.agent("PUT", &format!("/api/hosts/{host}/switches/{id}")).json(&body).send()
    }
}
