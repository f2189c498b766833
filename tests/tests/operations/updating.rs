//! `update`: newer inputs for the flake. Nix is a stand-in; git and the remote are real.

use std::{fs, os::unix::fs::PermissionsExt as _};

use nixfleet_protocol::{
    journal::records::Outcome,
    operation::{Operation, Step, Updated},
};

use crate::bench::Bench;

/// Updates to what the file `newest` says.
const NIX: &str = "#!/bin/sh\necho \"$*\" >> \"$HOME/nix-calls\"\n[ -e FAIL ] && exit 1\ncat \"$HOME/newest\" > flake.lock\n";

fn bench() -> Option<Bench> {
    let bench = Bench::with_own_clone()?;
    bench.program("nix", NIX);
    bench.remote.publish("flake.nix", "{ }");
    bench.remote.publish("flake.lock", "old");
    Some(bench)
}

fn update(bench: &Bench) -> (Option<i32>, Outcome, Option<Updated>) {
    let (code, result) = bench.run(&["update"]);
    assert_eq!(result.operation, Operation::Update);
    (code, result.outcome, result.steps.and_then(|steps| steps.updated))
}

#[test]
fn an_update_is_committed_and_pushed() {
    let Some(bench) = bench() else { return };
    bench.folder.write("home/newest", "old").unwrap();
    let (code, outcome, updated) = update(&bench);
    assert_eq!((code, outcome), (Some(0), Outcome::Succeeded));
    assert_eq!(updated, Some(Updated { commit: None, not_pushed: None }));

    bench.folder.write("home/newest", "new").unwrap();
    let (code, _, updated) = update(&bench);
    let commit = updated.and_then(|updated| updated.commit).unwrap();
    assert_eq!(code, Some(0));
    let remote = bench.folder.path("remote");
    assert_eq!(bench.remote.run(&remote, &["rev-parse", "main"]), commit);
    let shown = bench.remote.run(&remote, &["show", "--stat", "--format=%an %s", "main"]);
    assert!(shown.contains("NixFleet on testmac flake.lock: update inputs"), "{shown}");
    assert!(shown.contains("1 file changed"), "{shown}");
}

#[test]
fn a_remote_that_takes_nothing_is_said_and_the_update_is_there() {
    let Some(bench) = bench() else { return };
    bench.folder.write("home/newest", "new").unwrap();
    let hook = bench.folder.path("remote/hooks/pre-receive");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let (code, outcome, updated) = update(&bench);
    assert_eq!((code, outcome), (Some(0), Outcome::Succeeded));
    let updated = updated.unwrap();
    assert!(updated.not_pushed.unwrap().contains("git push failed"));
    assert_eq!(bench.checked_out("flake.lock").as_deref(), Some("new"));
    assert!(updated.commit.is_some());
}

#[test]
fn an_update_that_fails_is_no_update() {
    let Some(bench) = bench() else { return };
    bench.folder.write("home/newest", "new").unwrap();
    bench.remote.publish("FAIL", "");
    let (code, result) = bench.run(&["update"]);
    assert_eq!((code, result.outcome), (Some(1), Outcome::Failed));
    let steps = result.steps.unwrap();
    assert_eq!((steps.step, steps.updated), (Step::Update, None));
}

#[test]
fn an_update_does_not_hang_on_a_person_s_git() {
    let Some(bench) = bench() else { return };
    let config =
        "[commit]\ngpgSign = true\n[push]\ndefault = nothing\n[branch]\nautoSetupMerge = false\n";
    bench.folder.write("home/.gitconfig", config).unwrap();
    bench.folder.write("home/newest", "new").unwrap();
    let (code, _, updated) = update(&bench);
    assert_eq!((code, updated.unwrap().not_pushed), (Some(0), None));
}

#[test]
fn an_update_of_a_given_checkout_leaves_it_as_a_person_needs_it() {
    let Some(bench) = Bench::new("") else { return };
    bench.program("nix", NIX);
    bench.remote.publish("flake.nix", "{ }");
    bench.remote.publish("flake.lock", "old");
    bench.remote.run(bench.folder.root(), &["clone", "--quiet", "remote", "given"]);
    let given = bench.folder.path("given");
    let in_given = |words: &[&str]| bench.remote.run(&given, words);
    let update = |newest: &str| {
        bench.folder.write("home/newest", newest).unwrap();
        bench.command().arg("update").current_dir(&given).output().unwrap();
        let id = bench.folder.newest_switch().unwrap().unwrap();
        bench.folder.journal().unwrap().entry(id).result.present().unwrap()
    };
    // A hook of the person's that refuses: the file is as it was.
    let hook = bench.folder.write("given/.git/hooks/pre-commit", "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(update("1").outcome, Outcome::Failed);
    assert_eq!(in_given(&["status", "--porcelain"]), "");
    fs::remove_file(hook).unwrap();

    let updated = |newest: &str| update(newest).steps.unwrap().updated.unwrap();
    assert_eq!(updated("2").not_pushed, None);
    // Somebody publishes meanwhile: what was committed would keep the checkout from being brought forward.
    let author = bench.remote.author();
    bench.remote.run(&author, &["pull", "--quiet"]);
    let meanwhile = format!(
        "cd {} && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m new && git push -q origin main\n",
        author.display()
    );
    bench.program("nix", &format!("{NIX}{meanwhile}"));
    let result = update("moved");
    assert_eq!((result.outcome, result.steps.unwrap().step), (Outcome::Failed, Step::Publish));
    assert_eq!(in_given(&["status", "--porcelain"]), "");
    bench.program("nix", NIX);
    assert_eq!(updated("moved").not_pushed, None);
    // What the person has not published stays unpublished.
    in_given(&["commit", "--quiet", "--allow-empty", "-m", "mine"]);
    let published = bench.remote.run(&bench.folder.path("remote"), &["rev-parse", "main"]);
    assert!(updated("3").not_pushed.unwrap().contains("never pushed"));
    assert_eq!(bench.remote.run(&bench.folder.path("remote"), &["rev-parse", "main"]), published);
}
