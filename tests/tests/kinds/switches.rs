//! What each kind runs, as whom, and what the journal says of it.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::records::{Activation, FORMAT, Initiator, Outcome, Request, SwitchId},
    operation::Operation,
    switch_kind::SwitchKind,
};
use nixfleet_tests::stage::{dashboard::Dashboard, folder::HOST, processes, wait};
use rustix::process::Signal;

use crate::bench::{Bench, text};

#[test]
fn a_system_is_switched_by_sudo_with_what_the_config_says() {
    for (kind, name) in
        [(SwitchKind::NixosRebuild, "nixos-rebuild"), (SwitchKind::DarwinRebuild, "darwin-rebuild")]
    {
        let config = format!(
            "switch_kind = \"{kind}\"\nflake = \"/cfg\"\nflake_attribute = \"box\"\nswitch_arguments = [\"-L\"]\n"
        );
        let Some(bench) = Bench::new(&config) else { return };
        let output = bench.switch(&[]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(text(&output.stdout), "activated switch --flake /cfg#box -L\n");
        let expected = [
            format!("sudo -n -- FOLDER/bin/{name} switch --flake /cfg#box -L"),
            "switch --flake /cfg#box -L".to_owned(),
        ];
        assert_eq!(bench.calls(), expected);
        let first = bench.result();
        assert_eq!((first.kind, first.outcome), (kind, Outcome::Succeeded));
        assert_eq!(first.argv, ["--flake", "/cfg#box", "-L"]);
        assert_eq!((&first.generation_before, first.activation), (&None, Activation::Complete));
        assert_eq!(first.generation_after, bench.store_path("current"));

        // What somebody types stands for all of it.
        let output = bench.switch(&["--flake", "."]);
        assert_eq!(text(&output.stdout), "activated switch --flake .\n");
        let second = bench.result();
        assert_eq!(second.argv, ["--flake", "."]);
        assert_eq!(second.generation_before, first.generation_after);
        assert_ne!(second.generation_after, first.generation_after);
        bench.end();
    }
}

/// Says that it was called, and activates the generation that it is a part of.
const ACTIVATE: &str = r#"#!/bin/bash
echo "activate $*" >> FOLDER/calls
ln -sfn GENERATION FOLDER/current
"#;

#[test]
fn a_system_goes_back_by_its_profile_and_by_sudo() {
    for (kind, program) in [
        (SwitchKind::NixosRebuild, "bin/switch-to-configuration"),
        (SwitchKind::DarwinRebuild, "activate"),
    ] {
        let Some(bench) = Bench::new(&format!("switch_kind = \"{kind}\"\n")) else { return };
        let root = bench.folder.root().display().to_string();
        let nix_env = "#!/bin/bash\necho \"nix-env $*\" >> FOLDER/calls\nln -sfn \"$4\" \"$2\"\n";
        bench.program("nix-env", &nix_env.replace("FOLDER", &root));
        assert!(bench.switch(&[]).status.success());
        let first = bench.store_path("system").unwrap();
        let path = Path::new(&first).join(program);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = ACTIVATE.replace("FOLDER", &root).replace("GENERATION", &first);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(bench.switch(&[]).status.success());
        assert_ne!(bench.store_path("system"), Some(first.clone()));
        bench.calls();

        let output = bench.switch(&["rollback"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let result = bench.result();
        assert_eq!((result.outcome, result.activation), (Outcome::Succeeded, Activation::Complete));
        assert_eq!(result.generation_after, Some(first.clone()));
        let (first, words) = (
            first.replace(&root, "FOLDER"),
            match kind {
                SwitchKind::NixosRebuild => " switch",
                SwitchKind::HomeManager | SwitchKind::DarwinRebuild | SwitchKind::Command => "",
            },
        );
        let nix_env = format!("-p FOLDER/system --set {first}");
        let expected = [
            format!("sudo -n -- FOLDER/bin/nix-env {nix_env}"),
            format!("nix-env {nix_env}"),
            format!("sudo -n -- {first}/{program}{words}"),
            format!("activate{}", if words.is_empty() { " " } else { words }),
        ];
        assert_eq!(bench.calls(), expected);
        bench.end();
    }
}

#[test]
fn an_activation_that_was_cut_is_called_incomplete() {
    let Some(bench) = Bench::new("switch_kind = \"nixos-rebuild\"\n") else { return };
    assert!(bench.switch(&[]).status.success());
    bench.scenario("exit 4");
    let output = bench.switch(&[]);
    assert_eq!(output.status.code(), Some(4));
    let result = bench.result();
    assert_eq!((result.outcome, result.activation), (Outcome::Failed, Activation::Incomplete));
    assert_eq!(result.generation_after, bench.store_path("system"));
    assert_eq!(result.note, None);
    bench.end();
}

#[test]
fn a_sudo_that_wants_a_password_is_said_with_the_rule() {
    let Some(bench) = Bench::new("switch_kind = \"nixos-rebuild\"\n") else { return };
    bench.folder.write("asks", "").unwrap();
    let output = bench.switch(&[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let rule = format!(
        "tester ALL=(root) NOPASSWD: {} switch`",
        bench.folder.path("bin/nixos-rebuild").display()
    );
    assert!(text(&output.stderr).contains(&rule), "{output:?}");
    let result = bench.result();
    assert_eq!(result.outcome, Outcome::Failed);
    assert!(result.note.unwrap().contains(&rule));
    // A switch that fails by itself is not sudo's fault.
    fs::remove_file(bench.folder.path("asks")).unwrap();
    bench.scenario("exit 1");
    bench.calls();
    assert_eq!(bench.switch(&[]).status.code(), Some(1));
    assert_eq!(bench.result().note, None);
    let asked = bench.calls();
    assert_eq!(asked.last().unwrap(), "sudo -n -l -- FOLDER/bin/nixos-rebuild switch");
    bench.end();
}

#[test]
fn at_a_terminal_sudo_may_ask() {
    let Some(bench) = Bench::new("switch_kind = \"nixos-rebuild\"\n") else { return };
    bench.folder.write("asks", "").unwrap();
    let switch = bench.folder.path("bin/nixfleet-switch").display().to_string();
    let environment = bench.command("nixfleet-switch");
    let mut script = Command::new("script");
    if Path::new("/proc").exists() {
        script.args(["-qefc", &switch, "/dev/null"]);
    } else {
        script.args(["-q", "/dev/null", "/bin/sh", "-c", &switch]);
    }
    if let Some(user) = bench.user {
        script.uid(user).gid(user);
    }
    let mut child = script
        .env_clear()
        .envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = child.stdin.take().unwrap();
    let mut shown = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !text(&seen).contains("password: ") {
        let mut piece = [0; 256];
        let length = shown.read(&mut piece).unwrap();
        assert!(length > 0, "it ended without asking: {}", text(&seen));
        seen.extend(&piece[..length]);
    }
    keys.write_all(b"sesame\n").unwrap();
    shown.read_to_end(&mut seen).unwrap();
    assert!(child.wait().unwrap().success(), "{}", text(&seen));
    assert_eq!(bench.calls()[0], "sudo -- FOLDER/bin/nixos-rebuild switch");
    bench.end();
}

#[test]
fn a_switch_under_sudo_is_ended_by_what_sudo_passes_on() {
    let Some(bench) = Bench::new("switch_kind = \"nixos-rebuild\"\n") else { return };
    bench.scenario("sleep 60");
    let mut child = bench.command("nixfleet-switch").stdout(Stdio::null()).spawn().unwrap();
    bench.wait_for_call("switch");
    processes::signal(child.id(), Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(bench.result().outcome, Outcome::Cancelled);
    // A sudo that was killed would leave at work what it runs.
    bench.scenario("exec /bin/sh -c 'trap \"\" TERM; while :; do sleep 0.1; done'");
    let output = bench.switch(&["--timeout=1s"]);
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    let result = bench.result();
    assert_eq!((result.outcome, result.signal), (Outcome::TimedOut, Some(3)));
    assert!(text(&output.stderr).contains("`sudo kill -KILL -- -"), "{output:?}");
    // What it has left behind cannot be ended, for it is root's; no other switch may run beside it.
    let rest = bench.folder.path("rest");
    bench.scenario(&format!(
        "(trap '' TERM QUIT; sleep 4; echo done > {}) & sleep 60",
        rest.display()
    ));
    assert_eq!(bench.switch(&["--timeout=1s"]).status.code(), Some(124));
    assert!(rest.exists());
    bench.end();
}

#[test]
fn a_command_is_run_as_it_is_given() {
    let config = "switch_kind = \"command\"\nswitch_command = [\"FOLDER/bin/deploy\", \"--to\", \"here and now\"]\n";
    let Some(bench) = Bench::new(config) else { return };
    bench.program("deploy", "#!/bin/sh\nfor word; do echo \"<$word>\"; done\nexit 7\n");
    bench.give_away();
    let output = bench.switch(&[]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(text(&output.stdout), "<--to>\n<here and now>\n");
    let output = bench.switch(&["-v", "x y"]);
    assert_eq!(text(&output.stdout), "<--to>\n<here and now>\n<-v>\n<x y>\n");
    let result = bench.result();
    assert_eq!((result.kind, result.exit_code), (SwitchKind::Command, Some(7)));
    assert_eq!(result.argv, ["-v", "x y"]);
    assert_eq!(bench.calls(), [""; 0]);
    bench.end();
}

#[test]
fn of_a_command_no_generations_are_known() {
    let config = "switch_kind = \"command\"\nswitch_command = [\"true\"]\n";
    let Some(bench) = Bench::new(config) else { return };
    let path = bench.folder.path("config.toml");
    let kept: Vec<String> = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with("profile") && !line.starts_with("current_generation"))
        .map(str::to_owned)
        .collect();
    fs::write(&path, kept.join("\n")).unwrap();
    assert!(bench.switch(&[]).status.success());
    let result = bench.result();
    assert_eq!((result.generation_before, result.generation_after), (None, None));
    assert_eq!(result.activation, Activation::Unknown);
    bench.end();
}

#[test]
fn home_manager_never_runs_under_sudo() {
    let Some(bench) = Bench::new("flake = \"/cfg\"\nflake_attribute = \"me@box\"\n") else {
        return;
    };
    bench.program("home-manager", "#!/bin/sh\necho \"$*\"\n");
    bench.give_away();
    let output = bench.switch(&[]);
    assert_eq!(text(&output.stdout), "switch --flake /cfg#me@box\n", "{output:?}");
    assert_eq!(text(&bench.switch(&["--flake", "."]).stdout), "switch --flake .\n");
    assert_eq!(bench.calls(), [""; 0]);
    bench.end();
}

#[test]
fn programs_that_are_not_there_and_settings_that_make_no_sense_are_said() {
    for (config, expected) in [
        ("switch_kind = \"nixos\"\n", "`nixos-rebuild`"),
        ("switch_kind = \"command\"\n", "needs switch_command"),
        ("switch_command = [\"x\"]\n", "take switch_command out"),
        ("flake_attribute = \"me\"\n", "set flake, or repo_url"),
        ("branch = \"main\"\n", "set repo_url"),
        ("repo_url = \"https://me:hunter2@h/cfg\"\n", "without a password"),
        (
            "switch_kind = \"darwin-rebuild\"\ndarwin_rebuild = \"/nowhere\"\n",
            "NIXFLEET_DARWIN_REBUILD",
        ),
        ("switch_kind = \"nixos-rebuild\"\nnixos_rebuild = \"no-such-program\"\n", "looked in"),
        ("switch_kind = \"command\"\nswitch_command = [\"no-such-program\"]\n", "no-such-program"),
    ] {
        let Some(bench) = Bench::new(config) else { return };
        let output = bench.switch(&[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{config}: {said}");
        assert!(said.contains(expected) && !said.contains("hunter2"), "{config}: {said}");
        assert_eq!(bench.calls(), [""; 0], "{config}");
        let checked = bench.command("nixfleet-agent").arg("check-config").output().unwrap();
        let is_of_the_wrapper = config.contains("no-such-program") || config.contains("/nowhere");
        assert_eq!(checked.status.success(), is_of_the_wrapper, "{config}: {checked:?}");
        assert!(!text(&checked.stderr).contains("hunter2"), "{checked:?}");
        bench.end();
    }
}

#[test]
fn what_was_asked_for_as_another_kind_is_not_started() {
    let Some(bench) = Bench::new("switch_kind = \"nixos-rebuild\"\n") else { return };
    // The state directory, as the wrapper makes it.
    assert!(bench.switch(&[]).status.success());
    bench.calls();
    let request = Request {
        format: FORMAT,
        id: SwitchId::generate(),
        initiator: Initiator::Agent,
        command_id: None,
        operation: Operation::default(),
        kind: SwitchKind::HomeManager,
        argv: Vec::new(),
        cwd: bench.folder.home(),
        requested_at: Timestamp::now(),
        host: HOST.to_owned(),
    };
    bench.folder.journal().unwrap().accept(&request).unwrap();
    bench.give_away();
    let output = bench.switch(&["run", &request.id.to_string()]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let result = bench.result();
    assert_eq!((result.outcome, result.kind), (Outcome::NotStarted, SwitchKind::HomeManager));
    assert!(result.note.unwrap().contains("switch_kind = \"nixos-rebuild\" by now"));
    assert_eq!(bench.calls(), [""; 0]);
    bench.end();
}

/// Asked for by the dashboard: sudo must not ask, and the dashboard has the result. The checkout is the flake.
#[test]
fn a_system_s_switch_that_the_dashboard_asks_for() {
    let place = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(&place.path().join("dashboard")).unwrap();
    let config = "switch_kind = \"nixos-rebuild\"\nrepo_url = \"git@example.org:me/cfg\"\nflake_attribute = \"box\"\n";
    let Some(bench) = Bench::at(dashboard.url(), config) else { return };
    // There already, so nobody has to clone it.
    fs::create_dir_all(bench.folder.state_dir().join("repo")).unwrap();
    bench.give_away();
    let mut agent = bench.command("nixfleet-agent").arg("run").spawn().unwrap();
    wait::until_true("the agent is known", wait::PATIENCE, || {
        Ok(bench.folder.agent_record()?.is_some_and(|agent| agent.last_heartbeat_at.is_some()))
    })
    .unwrap();
    let command = dashboard.command(HOST, "switch").unwrap();
    let told = dashboard.wait_for_result(HOST, &command).unwrap().result.unwrap();
    assert_eq!((told.outcome, told.exit_code), (Outcome::Succeeded, Some(0)));
    assert_eq!(told.generation_after, bench.store_path("current"));
    let id = bench.folder.newest_switch().unwrap().unwrap();
    let request = bench.folder.journal().unwrap().entry(id).request.present().unwrap();
    let flake = bench.folder.state_dir().join("repo").display().to_string() + "#box";
    assert_eq!(
        (request.kind, request.argv),
        (SwitchKind::NixosRebuild, vec!["--flake".to_owned(), flake])
    );
    assert!(bench.calls()[0].starts_with("sudo -n -- FOLDER/bin/nixos-rebuild switch --flake "));

    bench.folder.write("asks", "").unwrap();
    let command = dashboard.command(HOST, "switch").unwrap();
    let told = dashboard.wait_for_result(HOST, &command).unwrap().result.unwrap();
    assert_eq!(told.outcome, Outcome::Failed);
    assert!(told.note.unwrap().contains("NOPASSWD"));

    fs::remove_file(bench.folder.path("asks")).unwrap();
    bench.scenario("sleep 60");
    bench.calls();
    let command = dashboard.command(HOST, "switch").unwrap();
    bench.wait_for_call("switch");
    dashboard.command(HOST, "stop").unwrap();
    let told = dashboard.wait_for_result(HOST, &command).unwrap().result.unwrap();
    assert_eq!(told.outcome, Outcome::Cancelled);
    processes::signal(agent.id(), Signal::TERM);
    agent.wait().unwrap();
    bench.end();
}
