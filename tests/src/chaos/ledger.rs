//! What was seen in earlier steps: a journal and a dashboard keep only so much.

use std::collections::{BTreeMap, BTreeSet};

use crate::crash::facts::{Accepted, Command, Facts, Told};

/// All that was ever seen.
#[derive(Debug, Default)]
pub struct Ledger {
    accepted: BTreeMap<String, Accepted>,
    told: BTreeMap<String, Told>,
    commands: BTreeMap<String, Command>,
    /// Switches whose wrapper may have died.
    forgiven: BTreeSet<String>,
}

impl Ledger {
    /// Takes the facts in, and adds to them what is not there any more. `a_wrapper_may_have_died` is about the switches
    /// that are seen for the first time.
    pub fn complete(&mut self, facts: &mut Facts, a_wrapper_may_have_died: bool) {
        for accepted in &mut facts.accepted {
            if a_wrapper_may_have_died && !self.accepted.contains_key(&accepted.id) {
                self.forgiven.insert(accepted.id.clone());
            }
            accepted.wrapper_may_have_died = self.forgiven.contains(&accepted.id);
        }
        complete(&mut self.accepted, &mut facts.accepted, |accepted| &accepted.id);
        complete(&mut self.told, &mut facts.told, |told| &told.id);
        complete(&mut self.commands, &mut facts.commands, |command| &command.id);
    }
}

/// Remembers what is there, and adds what was there.
fn complete<T: Clone>(known: &mut BTreeMap<String, T>, there: &mut Vec<T>, id: fn(&T) -> &String) {
    let ids: BTreeSet<String> = there.iter().map(|one| id(one).clone()).collect();
    let gone = known.iter().filter(|(id, _)| !ids.contains(*id));
    let gone: Vec<T> = gone.map(|(_, one)| one.clone()).collect();
    for one in there.iter() {
        known.insert(id(one).clone(), one.clone());
    }
    there.extend(gone);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(ids: &[&str]) -> Facts {
        let accepted = |id: &&str| Accepted {
            id: (*id).to_owned(),
            command: None,
            child: None,
            result: None,
            wrapper_may_have_died: false,
        };
        Facts { accepted: ids.iter().map(accepted).collect(), ..Facts::default() }
    }

    #[test]
    fn what_was_pruned_stays_and_a_death_is_forgiven_to_its_own_step_only() {
        let mut ledger = Ledger::default();
        let mut seen = |ids: &[&str], died: bool| {
            let mut facts = with(ids);
            ledger.complete(&mut facts, died);
            facts
                .accepted
                .into_iter()
                .map(|accepted| (accepted.id, accepted.wrapper_may_have_died))
                .collect::<Vec<_>>()
        };
        let of = |id: &str, died: bool| (id.to_owned(), died);
        assert_eq!(seen(&["a"], false), [of("a", false)]);
        assert_eq!(seen(&["a", "b"], true), [of("a", false), of("b", true)]);
        assert_eq!(seen(&["c"], false), [of("c", false), of("a", false), of("b", true)]);
    }
}
