//! Faults that a test injects. `faults.json` is a list of [`Fault`]s, written by the test in one
//! atomic step and looked at for each call; a new file starts the counting anew.

mod book;
mod disguise;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, Failure, LegacyVerb, NO_SUCH_DOMAIN, NO_SUCH_SERVICE, Privilege, words},
    command::VerbName,
    control::Control,
    domain::{Domain, ServiceTarget},
    message::Response,
};

pub use self::{
    book::{FaultBook, FaultError},
    disguise::Disguise,
};

/// `bootstrap` has words of its own for EEXIST.
const ALREADY_BOOTSTRAPPED: u8 = 17;

/// What goes wrong, and with which calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The calls it meets.
    pub verb: VerbName,
    /// Only calls about this label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Lets this many matching calls pass first.
    #[serde(default)]
    pub skip: u32,
    /// Meets this many calls, then no more; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Happens right before the call is handled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Control>,
    /// Whether the call does what it is for. If absent: only when no answer is given below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
    /// Happens right after the call was handled, before it is answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Control>,
    /// How long the call hangs.
    #[serde(default)]
    pub hang_seconds: f64,
    /// Where it hangs.
    #[serde(default)]
    pub hang: Hang,
    /// The exit code to give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// The standard output to give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The standard error to give; if absent, launchd's text for the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
    /// What becomes of the true texts on their way to the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disguise: Option<Disguise>,
    /// The number of a signal that ends `launchctl` itself, when all is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_self: Option<i32>,
    /// The number of a signal for the process that called `launchctl`, when all is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_caller: Option<i32>,
}

/// Whether a call does what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// It does, whatever it answers.
    Done,
    /// It does nothing.
    Skipped,
}

/// Where a call hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hang {
    /// Before anything is done.
    #[default]
    Before,
    /// When all is done, before the answer.
    After,
}

impl Fault {
    /// A fault for every call of this verb, that so far does nothing.
    pub fn on(verb: VerbName) -> Self {
        Self {
            verb,
            label: None,
            skip: 0,
            times: None,
            before: Vec::new(),
            work: None,
            after: Vec::new(),
            hang_seconds: 0.0,
            hang: Hang::Before,
            code: None,
            output: None,
            stderr: None,
            disguise: None,
            kill_self: None,
            kill_caller: None,
        }
    }

    /// The same fault with an exit code to give.
    #[must_use]
    pub fn code(self, code: u8) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The same fault, a number of times only.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Whether the call does what it is for.
    pub fn work(&self) -> Work {
        self.work.unwrap_or(if self.gives_an_answer() { Work::Skipped } else { Work::Done })
    }

    /// How long the call hangs at this place.
    pub fn hang_at(&self, place: Hang) -> Duration {
        let length = Duration::try_from_secs_f64(self.hang_seconds).unwrap_or(Duration::ZERO);
        if self.hang == place { length } else { Duration::ZERO }
    }

    /// The same fault, from the call after so many on.
    #[must_use]
    pub fn skip(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// The same fault, with the texts disguised.
    #[must_use]
    pub fn disguise(self, disguise: Disguise) -> Self {
        Self { disguise: Some(disguise), ..self }
    }

    /// What the caller gets, where the call itself would have given `real`. `subject` is what the
    /// call is about, as typed.
    pub fn answer(&self, real: Answer, caller: Privilege, subject: &str) -> Answer {
        let given = match self.code {
            Some(0) => Answer::silent(),
            Some(code) => self.failure(code, caller, subject),
            None => real,
        };
        let given = Answer {
            stdout: self.output.clone().unwrap_or(given.stdout),
            stderr: self.stderr.clone().unwrap_or(given.stderr),
            ..given
        };
        match self.disguise {
            Some(disguise) => disguise.over(given),
            None => given,
        }
    }

    /// What goes over the socket.
    pub fn response(&self, answer: Answer) -> Response {
        Response {
            flood: self.disguise.map_or(0, Disguise::flood),
            kill_self: self.kill_self,
            kill_caller: self.kill_caller,
            ..answer.into()
        }
    }

    fn gives_an_answer(&self) -> bool {
        self.code.is_some() || self.output.is_some() || self.stderr.is_some()
    }

    /// Where a verb does not say "... failed: 5: Input/output error".
    fn special_words(&self, code: u8, subject: &str) -> Option<Answer> {
        if self.verb == VerbName::Bootstrap && code == ALREADY_BOOTSTRAPPED {
            return Some(Answer::refused(
                code,
                format!("{subject}: service already bootstrapped\n"),
            ));
        }
        if !matches!(self.verb, VerbName::Kickstart | VerbName::Kill | VerbName::Print) {
            return None;
        }
        let service = ServiceTarget::parse(subject);
        let domain = service.as_ref().map(|target| target.domain).or(Domain::parse(subject));
        match code {
            NO_SUCH_DOMAIN => domain.map(Answer::no_such_domain),
            NO_SUCH_SERVICE => service.as_ref().map(Answer::no_such_service),
            _ if self.verb == VerbName::Kickstart => Some(Answer::kickstart_failed(code, subject)),
            _ => None,
        }
    }

    fn failure(&self, code: u8, caller: Privilege, subject: &str) -> Answer {
        if let Some(answer) = self.special_words(code, subject) {
            return answer;
        }
        let legacy = LegacyVerb::of(self.verb);
        if let (Some(verb), Some(failure)) = (legacy, Failure::from_code(code)) {
            return Answer::legacy(verb, failure, caller);
        }
        let what = self.verb.in_failures();
        match Failure::from_code(code) {
            // The test asked for this code, so it is not masked.
            Some(failure) if failure.seen_by(caller) != failure => {
                Answer::failed(what, failure, Privilege::Root)
            }
            Some(failure) => Answer::failed(what, failure, caller),
            None => Answer::refused(code, format!("{what} failed: {code}: {}\n", words(code))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fault_answers() {
        let real = Answer::printed("real".to_owned());
        let hang = Fault { hang_seconds: 2.0, ..Fault::on(VerbName::Bootout) };
        assert_eq!(hang.work(), Work::Done);
        assert_eq!(hang.answer(real.clone(), Privilege::Owner, ""), real);
        assert_eq!(hang.hang_at(Hang::Before), Duration::from_secs(2));

        let eio = Fault::on(VerbName::Bootstrap).code(5);
        assert_eq!(eio.work(), Work::Skipped);
        let answer = eio.answer(real.clone(), Privilege::Owner, "");
        assert!(answer.stderr.starts_with("Bootstrap failed: 5: Input/output error\n"));

        let disabled = Fault::on(VerbName::Bootstrap).code(119).answer(real, Privilege::Owner, "");
        assert_eq!(disabled.code, 119);
    }
}
