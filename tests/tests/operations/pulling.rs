//! `pull` and `pull-switch`.

use std::{fs, os::unix::process::ExitStatusExt as _, time::Duration};

use nixfleet_protocol::{
    journal::records::{Outcome, SwitchResult},
    operation::{Operation, Pulled, Step},
};
use nixfleet_tests::stage::{processes, wait};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::Bench;

fn pulled(result: &SwitchResult) -> Pulled {
    result.steps.as_ref().and_then(|steps| steps.pulled.clone()).unwrap()
}

fn succeeds(bench: &Bench) -> Pulled {
    let (code, result) = bench.run(&["pull"]);
    assert_eq!((code, result.outcome), (Some(0), Outcome::Succeeded), "{result:?}");
    assert_eq!(result.operation, Operation::Pull);
    assert_eq!(bench.leftovers(), [""; 0]);
    pulled(&result)
}

#[test]
fn the_own_clone_is_what_the_remote_has() {
    let Some(bench) = Bench::with_own_clone() else { return };
    let first = succeeds(&bench);
    assert_eq!((first.before, first.is_fresh), (None, true));
    assert_eq!(bench.checked_out("number").as_deref(), Some("1"));

    let second = bench.remote.publish("number", "2");
    let brought = succeeds(&bench);
    assert_eq!(
        brought,
        Pulled { before: Some(first.after), after: second.clone(), is_fresh: false }
    );
    assert!(bench.log().contains("number is 2"), "{}", bench.log());
    let again = succeeds(&bench);
    assert_eq!((again.before.as_ref(), &again.after), (Some(&second), &second));
    assert!(bench.log().contains("already up to date"), "{}", bench.log());

    // Whatever stands in the clone, and also when the history was rewritten.
    fs::write(bench.checkout().join("number"), "mine").unwrap();
    fs::write(bench.checkout().join("other"), "mine").unwrap();
    bench.remote.run(&bench.checkout(), &["add", "--all"]);
    bench.remote.run(&bench.checkout(), &["commit", "--quiet", "-m", "mine"]);
    fs::write(bench.checkout().join("number"), "mine too").unwrap();
    fs::write(bench.checkout().join("new"), "nobody's").unwrap();
    bench.remote.run(&bench.remote.author(), &["reset", "--quiet", "--hard", "HEAD~1"]);
    let rewritten = bench.remote.publish("number", "3");
    assert_eq!(succeeds(&bench).after, rewritten);
    assert_eq!(bench.checked_out("number").as_deref(), Some("3"));
    assert_eq!((bench.checked_out("other"), bench.checked_out("new")), (None, None));
}

#[test]
fn a_clone_that_is_not_ours_or_broken_gives_way_to_a_new_one() {
    let Some(bench) = Bench::with_own_clone() else { return };
    let git = bench.checkout().join(".git");
    let breakages: [(&str, &dyn Fn()); 6] = [
        ("another remote", &|| {
            bench.remote.run(&bench.checkout(), &["remote", "set-url", "origin", "/elsewhere"]);
        }),
        ("no objects", &|| fs::remove_dir_all(git.join("objects")).unwrap()),
        ("a lock that nobody holds", &|| fs::write(git.join("index.lock"), "").unwrap()),
        ("a torn HEAD", &|| fs::write(git.join("HEAD"), "").unwrap()),
        ("no repository", &|| fs::remove_dir_all(&git).unwrap()),
        ("a file", &|| {
            fs::remove_dir_all(bench.checkout()).unwrap();
            fs::write(bench.checkout(), "").unwrap();
        }),
    ];
    succeeds(&bench);
    for (number, (name, break_it)) in breakages.into_iter().enumerate() {
        let newest = bench.remote.publish("number", &format!("{name} {number}"));
        break_it();
        let brought = succeeds(&bench);
        assert!(brought.is_fresh, "{name}");
        assert_eq!(brought.after, newest, "{name}");
        let text = format!("{name} {number}");
        assert_eq!(bench.checked_out("number"), Some(text));
    }
}

#[test]
fn a_checkout_of_the_same_repository_around_the_clone_is_never_touched() {
    let Some(bench) = Bench::with_own_clone() else { return };
    succeeds(&bench);
    let (home, git) = (bench.folder.state_dir(), bench.checkout().join(".git"));
    // A home that is a checkout itself, and the state directory is in it.
    let remote = bench.folder.path("remote").display().to_string();
    let of_home = |words: &[&str]| bench.remote.run(&home, words);
    of_home(&["init", "--quiet", "--initial-branch=main"]);
    of_home(&["remote", "add", "origin", &remote]);
    of_home(&["fetch", "--quiet"]);
    fs::write(home.join("number"), "mine").unwrap();
    of_home(&["add", "number"]);
    of_home(&["commit", "--quiet", "-m", "mine"]);
    let mine = of_home(&["rev-parse", "HEAD"]);

    fs::remove_dir_all(&git).unwrap();
    fs::create_dir(&git).unwrap();
    assert!(succeeds(&bench).is_fresh);
    // Ours leads into it: by a link, or by what its own config says.
    fs::remove_dir_all(&git).unwrap();
    std::os::unix::fs::symlink(home.join(".git"), &git).unwrap();
    assert!(succeeds(&bench).is_fresh);
    bench.remote.run(&bench.checkout(), &["config", "core.worktree", &home.display().to_string()]);
    bench.remote.publish("number", "2");
    succeeds(&bench);
    assert_eq!(bench.checked_out("number").as_deref(), Some("2"));
    assert_eq!(of_home(&["rev-parse", "HEAD"]), mine);
    assert_eq!(fs::read_to_string(home.join("number")).unwrap(), "mine");
}

#[test]
fn a_remote_that_cannot_be_reached_leaves_the_clone_as_it_is() {
    let Some(bench) = Bench::with_own_clone() else { return };
    let there = succeeds(&bench);
    fs::rename(bench.folder.path("remote"), bench.folder.path("away")).unwrap();
    let before = bench.git_calls();
    let (code, result) = bench.run(&["pull"]);
    assert_eq!(result.outcome, Outcome::Failed, "{result:?}");
    assert_ne!(code, Some(0));
    assert!(result.output_tail.contains("git fetch failed"), "{}", result.output_tail);
    assert_eq!(bench.checked_out("number").as_deref(), Some("1"));
    let later = &bench.git_calls()[before.len()..];
    assert!(!later.contains(" clone "), "a clone cannot help: {later}");
    fs::rename(bench.folder.path("away"), bench.folder.path("remote")).unwrap();
    assert_eq!(succeeds(&bench).before, Some(there.after));
}

#[test]
fn a_given_checkout_is_only_brought_forward() {
    let Some(bench) = Bench::new("") else { return };
    bench.remote.run(&bench.folder.path(""), &["clone", "--quiet", "remote", "given"]);
    let given = bench.folder.path("given");
    let pull = || {
        let output = bench.command().arg("pull").current_dir(&given).output().unwrap();
        let id = bench.folder.newest_switch().unwrap().unwrap();
        let result = bench.folder.journal().unwrap().entry(id).result.present().unwrap();
        (output.status.code(), result)
    };
    let second = bench.remote.publish("number", "2");
    let (code, result) = pull();
    assert_eq!((code, pulled(&result).after), (Some(0), second.clone()));

    // The person's own work is never touched, whatever a person's git does for a person.
    bench
        .folder
        .write("home/.gitconfig", "[merge]\nautoStash = true\n[pull]\nrebase = true\n")
        .unwrap();
    fs::write(given.join("number"), "half done").unwrap();
    let next = bench.remote.publish("number", "2 and more");
    assert_eq!(pull().1.outcome, Outcome::Failed);
    assert_eq!(fs::read_to_string(given.join("number")).unwrap(), "half done");
    bench.remote.run(&given, &["checkout", "--quiet", "number"]);
    assert_eq!(pulled(&pull().1).after, next);
    fs::write(given.join("number"), "mine").unwrap();
    bench.remote.run(&given, &["commit", "--quiet", "-am", "mine"]);
    bench.remote.publish("number", "3");
    let (code, result) = pull();
    assert_eq!(result.outcome, Outcome::Failed);
    assert_ne!(code, Some(0));
    assert_eq!(fs::read_to_string(given.join("number")).unwrap(), "mine");

    let (_, result) = bench.run(&["pull"]);
    assert!(result.output_tail.contains("set repo_url"), "{}", result.output_tail);
}

#[test]
fn pull_switch_is_one_operation_with_home_manager_s_exit_code() {
    let Some(bench) = Bench::with_own_clone() else { return };
    let (code, result) = bench.run(&["pull-switch"]);
    assert_eq!((code, result.outcome), (Some(0), Outcome::Succeeded), "{result:?}");
    assert_eq!(result.operation, Operation::PullSwitch);
    assert_eq!(result.steps.as_ref().unwrap().step, Step::Switch);
    assert!(pulled(&result).is_fresh);
    assert!(result.generation_after.is_some());
    let flake = bench.checkout().display().to_string();
    let trace = bench.folder.home_manager_trace();
    assert!(trace.iter().any(|(_, step)| step.contains(&flake)), "{trace:?}");

    bench.folder.scenario("PLATFORM=linux\nFAIL_AT=build\nEXIT_CODE=7\n").unwrap();
    let (code, result) = bench.run(&["pull-switch"]);
    assert_eq!((code, result.outcome, result.exit_code), (Some(7), Outcome::Failed, Some(7)));

    // What cannot be pulled is not switched to.
    let runs = bench.folder.home_manager_runs();
    fs::rename(bench.folder.path("remote"), bench.folder.path("away")).unwrap();
    let (_, result) = bench.run(&["pull-switch"]);
    assert_eq!(result.outcome, Outcome::Failed);
    assert_eq!(result.steps.unwrap().step, Step::Pull);
    assert_eq!(bench.folder.home_manager_runs(), runs);
}

#[test]
fn the_first_switch_to_the_own_clone_makes_it() {
    let Some(bench) = Bench::with_own_clone() else { return };
    let (code, result) = bench.run(&[]);
    assert_eq!((code, result.operation), (Some(0), Operation::Switch), "{result:?}");
    assert!(pulled(&result).is_fresh);
    // The next one is a plain one: what to switch to is there.
    bench.remote.publish("number", "2");
    let (code, result) = bench.run(&[]);
    assert_eq!((code, result.steps), (Some(0), None));
    assert_eq!(bench.checked_out("number").as_deref(), Some("1"));
}

#[test]
fn whatever_is_killed_the_next_pull_is_whole() {
    let Some(bench) = Bench::with_own_clone() else { return };
    // The child that takes the steps is git's parent.
    let kill_at = |verb: &str| {
        bench.git_does(&format!(
            "case \" $* \" in *' {verb} '*) rm FOLDER/git-does; kill -KILL $PPID; exit 1 ;; esac\n"
        ));
    };
    for verb in ["clone", "rev-parse", "fetch", "checkout", "reset", "clean"] {
        let newest = bench.remote.publish("number", verb);
        kill_at(verb);
        let output = bench.command().arg("pull").output().unwrap();
        assert_eq!(output.status.code(), Some(128 + 9), "{verb}: {output:?}");
        let id = bench.folder.newest_switch().unwrap().unwrap();
        let result = bench.folder.journal().unwrap().entry(id).result.present().unwrap();
        assert_eq!((result.outcome, result.signal), (Outcome::Failed, Some(9)), "{verb}");
        assert_eq!(result.steps.unwrap().step, Step::Pull, "{verb}");
        assert_eq!(succeeds(&bench).after, newest, "{verb}");
        assert_eq!(bench.checked_out("number").as_deref(), Some(verb));
    }
    // A file system that cannot exchange two folders has a moment at which neither is in place.
    fs::rename(bench.checkout(), bench.folder.state_dir().join("repo.old")).unwrap();
    fs::create_dir(bench.folder.state_dir().join("repo.new")).unwrap();
    assert!(!succeeds(&bench).is_fresh);
}

#[test]
fn a_clone_that_was_left_half_changed_is_not_switched_to() {
    let Some(bench) = Bench::with_own_clone() else { return };
    succeeds(&bench);
    // git is killed in the midst of it, and so is the child that takes the steps.
    let newest = bench.remote.publish("number", "2");
    bench.git_does("case \" $* \" in *' checkout '*) rm FOLDER/git-does; echo half > number; touch .git/index.lock; kill -KILL $PPID; exit 1 ;; esac\n");
    assert_eq!(bench.run(&["pull"]).1.outcome, Outcome::Failed);
    let (code, result) = bench.run(&[]);
    assert_eq!((code, result.operation), (Some(0), Operation::Switch), "{result:?}");
    assert_eq!((pulled(&result).after, pulled(&result).is_fresh), (newest, true));
    assert_eq!(bench.checked_out("number").as_deref(), Some("2"));

    // Neither can it be changed nor made anew: it is what it was.
    bench.remote.publish("number", "3");
    bench.git_does("case \" $* \" in *' checkout '*) echo half > number; exit 1 ;; *' clone '*) exit 1 ;; esac\n");
    assert_eq!(bench.run(&["pull"]).1.outcome, Outcome::Failed);
    assert_eq!(bench.checked_out("number").as_deref(), Some("2"));
    assert_eq!(bench.run(&[]).1.steps, None);

    // Left so, and then without the remote: what was there is there again.
    fs::write(bench.checkout().join("number"), "half").unwrap();
    fs::write(bench.checkout().join(".git/index.lock"), "").unwrap();
    fs::write(bench.folder.state_dir().join("repo.changing"), "").unwrap();
    bench.git_does("case \" $* \" in *' fetch '*|*' ls-remote '*) exit 1 ;; esac\n");
    assert_eq!(bench.run(&[]).1.outcome, Outcome::Failed);
    assert_eq!(bench.checked_out("number").as_deref(), Some("2"));
    assert_eq!(bench.run(&[]).1.steps, None);
}

#[test]
fn a_killed_wrapper_leaves_a_pull_that_goes_on() {
    let Some(bench) = Bench::with_own_clone() else { return };
    bench.git_does("case \" $* \" in *' clone '*) touch FOLDER/cloning; sleep 1 ;; esac\n");
    // As the agent asks for it: what a user asks for speaks to the user through the wrapper.
    let asked = bench.accept(Operation::PullSwitch).to_string();
    let mut wrapper = bench.command().args(["run", &asked]).spawn().unwrap();
    wait::until_true("the clone has begun", wait::PATIENCE, || {
        Ok(bench.folder.path("cloning").exists())
    })
    .unwrap();
    kill_process(Pid::from_child(&wrapper), Signal::KILL).unwrap();
    assert_eq!(wrapper.wait().unwrap().signal(), Some(9));
    let interrupted = bench.folder.newest_switch().unwrap().unwrap();
    // Nobody switches beside it.
    let output = bench.command().arg("pull").output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    // Whoever waits finds it closed, and as true as can be.
    let output = bench.command().args(["pull", "--wait=60s"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let result = bench.folder.journal().unwrap().entry(interrupted).result.present().unwrap();
    assert_eq!(result.outcome, Outcome::Interrupted);
    let steps = result.steps.unwrap();
    assert_eq!(steps.step, Step::Switch);
    assert!(steps.pulled.is_some());
    assert_eq!(bench.folder.home_manager_runs(), 1);
}

#[test]
fn a_pull_that_is_stopped_ends_with_all_that_it_has_started() {
    let Some(bench) = Bench::with_own_clone() else { return };
    bench.git_does(
        "case \" $* \" in *' clone '*) touch FOLDER/cloning; (trap '' TERM; exec sleep 777) & sleep 777 ;; esac\n",
    );
    let mut wrapper = bench.command().arg("pull").spawn().unwrap();
    wait::until_true("the clone has begun", wait::PATIENCE, || {
        Ok(bench.folder.path("cloning").exists())
    })
    .unwrap();
    kill_process(Pid::from_child(&wrapper), Signal::TERM).unwrap();
    let status = wrapper.wait().unwrap();
    assert_eq!(status.code(), Some(128 + 15), "{status:?}");
    let id = bench.folder.newest_switch().unwrap().unwrap();
    let result = bench.folder.journal().unwrap().entry(id).result.present().unwrap();
    assert_eq!(result.outcome, Outcome::Cancelled);
    assert_eq!(result.steps.unwrap().step, Step::Pull);
    processes::none_left(bench.folder.root(), Duration::from_secs(10)).unwrap();
}

#[test]
fn git_asks_nobody_and_gets_the_key() {
    let Some(bench) = Bench::new(
        "repo_url = \"ssh://git@127.0.0.1:9/nowhere\"\nssh_key_file = \"FOLDER/my 'key'\"\n",
    ) else {
        return;
    };
    let (_, result) = bench.run(&["pull"]);
    assert!(result.output_tail.contains("put the key there"), "{}", result.output_tail);
    bench.folder.write("my 'key'", "no key").unwrap();
    bench.program(
        "ssh",
        "#!/bin/sh\nfor word in \"$@\"; do echo \"$word\"; done >> \"$HOME/ssh-words\"\nexit 255\n",
    );
    bench.git_does("env > FOLDER/git-environment\n");
    let (code, result) = bench.run(&["pull"]);
    assert_eq!((code, result.outcome), (Some(128), Outcome::Failed), "{result:?}");
    let words = fs::read_to_string(bench.folder.home().join("ssh-words")).unwrap();
    let words: Vec<&str> = words.lines().collect();
    let key = bench.folder.path("my 'key'").display().to_string();
    assert!(words.windows(2).any(|pair| pair == ["-i", key.as_str()]), "{words:?}");
    assert!(words.contains(&"BatchMode=yes"), "{words:?}");
    let environment = fs::read_to_string(bench.folder.path("git-environment")).unwrap();
    assert!(environment.contains("GIT_TERMINAL_PROMPT=0"), "{environment}");
}

#[test]
fn a_given_checkout_s_own_way_to_ssh_is_taken() {
    let Some(bench) = Bench::new("") else { return };
    bench.remote.run(bench.folder.root(), &["clone", "--quiet", "remote", "given"]);
    let given = bench.folder.path("given");
    let command = format!("touch {} &&", bench.folder.path("asked").display());
    for (key, value) in
        [("remote.origin.url", "ssh://git@127.0.0.1:9/nowhere"), ("core.sshCommand", &command)]
    {
        bench.remote.run(&given, &["config", key, value]);
    }
    bench.program("ssh", "#!/bin/sh\nexit 255\n");
    bench.command().arg("pull").current_dir(&given).output().unwrap();
    assert!(bench.folder.path("asked").exists(), "{}", bench.log());
}
