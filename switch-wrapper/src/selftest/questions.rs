//! What is not known of launchd for certain, asked here where it can be seen. An answer is no step: whatever it is,
//! NixFleet gets on with it.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{
    Trouble, code_in_words,
    definition::{AgentJob, Start},
    judge::seconds,
    report::{Progress, Question},
    stage::{Answer, Stage},
    stand_in::agent::OnTerm,
};
use crate::{ensure::launchctl, messages::with_causes};

/// A user that nobody is.
const NOBODY_S_UID: u32 = 4_294_000_001;

/// How long launchd may take to have tried a program that is not there.
const TRIED_LIMIT: Duration = Duration::from_secs(3);

/// A start that comes later than this after a bootstrap was held back.
const HELD_BACK: Duration = Duration::from_secs(4);

/// A question, and how it is asked.
struct QuestionDefinition {
    question: &'static str,
    ask: fn(&mut Stage) -> Result<String, Trouble>,
}

const QUESTIONS: &[QuestionDefinition] = &[
    QuestionDefinition { question: "which signal does kickstart -k send?", ask: kickstart_signal },
    QuestionDefinition {
        question: "what does kickstart answer for a job that runs?",
        ask: kickstart_on_running,
    },
    QuestionDefinition {
        question: "is there bootout --wait, and does it wait for the exit or for the removal?",
        ask: bootout_wait,
    },
    QuestionDefinition {
        question: "does bootout DOMAIN PLIST wait until the job has ended?",
        ask: bootout_plist,
    },
    QuestionDefinition {
        question: "when is a job killed that does not end at SIGTERM?",
        ask: exit_timeout,
    },
    QuestionDefinition {
        question: "which codes does a domain have that is not there?",
        ask: missing_domain,
    },
    QuestionDefinition {
        question: "does the restart history survive bootout and bootstrap?",
        ask: restart_history,
    },
    QuestionDefinition {
        question: "what does print show of a job whose program is missing?",
        ask: missing_program,
    },
];

/// Questions that a program without root, which must not end the user's session, cannot ask.
const NOT_ASKED: [(&str, &str); 4] = [
    (
        "is a pended spawn released by waking up or unlocking?",
        "nothing makes launchd pend a spawn but logout, Low Power Mode or sleep",
    ),
    (
        "does WatchPaths count as a demand?",
        "it shows only while spawns are pended, which nothing makes launchd do but logout, Low Power Mode or sleep",
    ),
    (
        "what do Background Items make of a changed program path?",
        "only root can read their database",
    ),
    (
        "does writing a plist alone bring up the notice?",
        "it would have to be written into ~/Library/LaunchAgents, and only eyes can see a notice",
    ),
];

/// Asks them all. One that cannot be asked to its end says why.
pub(super) fn ask_all(stage: &mut Stage, progress: &mut Progress) -> Vec<Question> {
    let mut answers = Vec::new();
    for definition in QUESTIONS {
        progress.begin(definition.question);
        let answer = stage
            .go_on()
            .and_then(|()| (definition.ask)(stage))
            .unwrap_or_else(|trouble| format!("no answer: {}", with_causes(&trouble)));
        progress.clear();
        answers.push(Question { question: definition.question, answer });
    }
    let not_asked = NOT_ASKED
        .iter()
        .map(|(question, why)| Question { question, answer: format!("not asked: {why}") });
    answers.extend(not_asked);
    answers
}

fn kickstart_signal(stage: &mut Stage) -> Result<String, Trouble> {
    let agent = stage.start(&AgentJob::prompt(stage.next_version()))?;
    let kickstart = stage.launchctl(&["kickstart", "-k", &stage.scene.agent_target()]);
    stage.until_ended(&agent.process)?;
    let has_seen_term = stage.scene.term_of(agent.process.pid).exists();
    let last_end = stage.job().and_then(|job| job.last_end);
    Ok(signal_in_words(has_seen_term, last_end.as_deref(), &kickstart))
}

fn signal_in_words(has_seen_term: bool, last_end: Option<&str>, kickstart: &Answer) -> String {
    let signal = match (has_seen_term, last_end) {
        (true, _) => "SIGTERM: the job saw it".to_owned(),
        (false, Some(end)) => format!("the job saw none; print shows {end}"),
        (false, None) => "the job saw none, and print shows nothing".to_owned(),
    };
    format!(
        "{signal} (kickstart answered {} after {})",
        code_in_words(kickstart.code),
        seconds(kickstart.took)
    )
}

fn kickstart_on_running(stage: &mut Stage) -> Result<String, Trouble> {
    let agent = stage.start(&AgentJob::prompt(stage.next_version()))?;
    let answer = stage.on_agent("kickstart");
    let lives = if agent.process.is_alive()? { "went on" } else { "ended" };
    Ok(format!(
        "{}{}; the process {lives}",
        code_in_words(answer.code),
        super::in_brackets(&answer.said)
    ))
}

fn bootout_wait(stage: &mut Stage) -> Result<String, Trouble> {
    let agent = stage.start(&AgentJob::slow(stage.next_version()))?;
    let answer = stage.launchctl(&["bootout", "--wait", &stage.scene.agent_target()]);
    let print_after = stage.on_agent("print").code;
    let lives = agent.process.is_alive()?;
    stage.clear()?;
    Ok(wait_in_words(&answer, print_after, lives))
}

fn wait_in_words(answer: &Answer, print_after: Option<i32>, lives: bool) -> String {
    const USAGE: Option<i32> = Some(64);
    match (answer.code, lives, print_after) {
        (USAGE, true, _) => "no: usage error 64, and the job went on".to_owned(),
        (USAGE, false, _) => "no: usage error 64, and yet the job ended".to_owned(),
        (other, true, _) => {
            format!(
                "it answered {} after {} and did not wait",
                code_in_words(other),
                seconds(answer.took)
            )
        }
        (other, false, Some(launchctl::NOT_LOADED)) => format!(
            "for the removal: it answered {} after {}, the process had ended and the label was gone",
            code_in_words(other),
            seconds(answer.took)
        ),
        (other, false, print) => format!(
            "for the exit: it answered {} after {}, the process had ended and print answered {}",
            code_in_words(other),
            seconds(answer.took),
            code_in_words(print)
        ),
    }
}

fn bootout_plist(stage: &mut Stage) -> Result<String, Trouble> {
    let agent = stage.start(&AgentJob::slow(stage.next_version()))?;
    let plist = stage.scene.agent_plist();
    let answer = stage.launchctl(&["bootout", &stage.scene.domain, &plist.to_string_lossy()]);
    let waited = if agent.process.is_alive()? { "no" } else { "yes" };
    stage.clear()?;
    Ok(format!(
        "{waited}: it answered {} after {}",
        code_in_words(answer.code),
        seconds(answer.took)
    ))
}

fn exit_timeout(stage: &mut Stage) -> Result<String, Trouble> {
    let job = AgentJob { on_term: OnTerm::Never, ..AgentJob::slow(stage.next_version()) };
    let agent = stage.start(&job)?;
    let print = stage.on_agent("print");
    let began = Instant::now();
    stage.on_agent("bootout");
    stage.until_ended(&agent.process)?;
    let shown = launchctl::value_of(&print.stdout, "exit timeout").unwrap_or("not shown");
    Ok(format!("after {}; print: exit timeout {shown}", seconds(began.elapsed())))
}

fn missing_domain(stage: &mut Stage) -> Result<String, Trouble> {
    stage.install(&AgentJob::prompt(stage.next_version()))?;
    let own = format!("gui/{}", rustix::process::geteuid().as_raw());
    let (domain, whose) = if stage.scene.domain == own {
        (format!("gui/{NOBODY_S_UID}"), "of a user that is not there")
    } else {
        (own, "of this user")
    };
    let plist = stage.scene.agent_plist();
    let target = format!("{domain}/{}", stage.scene.agent_label);
    let answers = [
        ("print DOMAIN", stage.launchctl(&["print", &domain])),
        ("print", stage.launchctl(&["print", &target])),
        ("bootstrap", stage.launchctl(&["bootstrap", &domain, &plist.to_string_lossy()])),
        ("bootout", stage.launchctl(&["bootout", &target])),
        ("kickstart", stage.launchctl(&["kickstart", &target])),
    ];
    let codes: Vec<String> = answers
        .iter()
        .map(|(verb, answer)| format!("{verb} {}", code_in_words(answer.code)))
        .collect();
    Ok(format!("screen session {whose}: {}", codes.join(", ")))
}

fn restart_history(stage: &mut Stage) -> Result<String, Trouble> {
    let agent = stage.start(&AgentJob::prompt(stage.next_version()))?;
    // Now the next start is held back.
    agent.process.signal(Signal::KILL)?;
    stage.until_ended(&agent.process)?;
    stage.on_agent("bootout");
    stage.until_gone()?;
    let began = Instant::now();
    let answer = stage.bootstrap();
    if answer.code != Some(0) {
        return Err(Trouble::launchctl("bootstrap", &answer));
    }
    stage.next_agent(None)?;
    Ok(history_in_words(began.elapsed()))
}

fn history_in_words(up_after: Duration) -> String {
    let survives = if up_after >= HELD_BACK { "yes: the start was held back" } else { "no" };
    format!("{survives}; up {} after bootstrap", seconds(up_after))
}

fn missing_program(stage: &mut Stage) -> Result<String, Trouble> {
    let job = AgentJob { start: Start::MissingProgram, ..AgentJob::prompt(stage.next_version()) };
    stage.install(&job)?;
    let bootstrap = stage.bootstrap();
    let deadline = Instant::now() + TRIED_LIMIT;
    let tried = stage.until("launchd has tried the program", TRIED_LIMIT, || {
        let job = stage.job();
        let is_tried = job.as_ref().is_some_and(|job| job.last_end.is_some());
        Ok((is_tried || Instant::now() >= deadline).then_some(()))
    });
    let print = stage.on_agent("print");
    stage.clear()?;
    tried?;
    let value = |key| launchctl::value_of(&print.stdout, key).unwrap_or("not shown");
    Ok(format!(
        "bootstrap answered {}; state {}, runs {}, last exit code {}",
        code_in_words(bootstrap.code),
        value("state"),
        value("runs"),
        value("last exit code")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: i32) -> Answer {
        Answer { code: Some(code), took: Duration::from_secs(2), ..Answer::default() }
    }

    #[test]
    fn answers_say_what_was_seen() {
        let wait = |code, print, lives| wait_in_words(&answered(code), Some(print), lives);
        for (said, begins) in [
            (wait(64, 0, true), "no: usage error 64, and the job went on"),
            (wait(64, 113, false), "no: usage error 64, and yet"),
            (wait(0, 113, false), "for the removal: it answered 0 after 2.00 s"),
            (wait(0, 0, false), "for the exit"),
            (wait(0, 0, true), "it answered 0 after 2.00 s and did not wait"),
            (signal_in_words(true, Some("signal Killed: 9"), &answered(0)), "SIGTERM"),
            (
                signal_in_words(false, Some("signal Killed: 9"), &answered(0)),
                "the job saw none; print shows signal Killed: 9",
            ),
            (signal_in_words(false, None, &answered(37)), "the job saw none, and"),
            (history_in_words(Duration::from_millis(300)), "no; up 0.30 s"),
            (history_in_words(Duration::from_secs(9)), "yes: the start was held back"),
        ] {
            assert!(said.starts_with(begins), "{said}");
        }
    }
}
