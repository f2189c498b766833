//! A switch with a real Nix: store, database and profiles in a folder of their own, a flake without inputs, generations
//! that are built and activated. home-manager's command line is a stand-in; what it calls is not.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use nixfleet_protocol::journal::records::{Activation, Outcome, SwitchResult};
use nixfleet_tests::stage::{
    folder::{Config, Folder},
    not_run,
};

/// Where flake, activation and command line are.
const PIECES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/nix-switch");

/// A user's machine with a Nix that nobody else has.
struct Home {
    folder: Folder,
}

impl Home {
    fn new() -> Self {
        let folder = Folder::new().unwrap();
        folder
            .write_config(&Config {
                url: "http://127.0.0.1:9".to_owned(),
                service_manager: "none",
                label: "com.example.none".to_owned(),
                interval: 30,
            })
            .unwrap();
        for (name, piece) in [
            ("bin/home-manager", "home-manager"),
            ("flake/flake.nix", "flake.nix"),
            ("flake/activate", "activate"),
        ] {
            let place = folder.path(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            // A link to the stand-in that the other tests have.
            let _ = fs::remove_file(&place);
            fs::copy(Path::new(PIECES).join(piece), place).unwrap();
        }
        // Nothing of the machine's own configuration, no daemon, no user that builds, no network.
        let text = "experimental-features = nix-command flakes\nsandbox = false\nsubstituters =\n\
                    build-users-group =\n";
        fs::create_dir_all(folder.path("nix/conf")).unwrap();
        folder.write("nix/conf/nix.conf", text).unwrap();
        let home = Self { folder };
        let system = home.nix(&["eval", "--impure", "--raw", "--expr", "builtins.currentSystem"]);
        assert!(system.status.success(), "{system:?}");
        home.folder.write("flake/system", &String::from_utf8_lossy(&system.stdout)).unwrap();
        home
    }

    fn in_nix(&self, command: &mut Command) {
        for (variable, place) in [
            ("NIX_STORE_DIR", "nix/store"),
            ("NIX_STATE_DIR", "nix/state"),
            ("NIX_LOG_DIR", "nix/log"),
            ("NIX_CONF_DIR", "nix/conf"),
        ] {
            command.env(variable, self.folder.path(place));
        }
        command.env("NIX_REMOTE", "local");
    }

    fn nix(&self, words: &[&str]) -> Output {
        let mut command = Command::new("nix");
        command.args(words).env("HOME", self.folder.home());
        self.in_nix(&mut command);
        command.output().unwrap()
    }

    /// Adds these lines to the config.
    fn configure(&self, lines: &str) {
        let text = fs::read_to_string(self.folder.path("config.toml")).unwrap();
        self.folder.write("config.toml", &(text + lines)).unwrap();
    }

    /// The next generation to be built has this number, and this comes of it.
    fn next(&self, number: u32, what: &str) {
        self.folder.write("flake/number", &number.to_string()).unwrap();
        self.folder.write("flake/what", what).unwrap();
    }

    /// Switches, and says what home-manager's exit code and the wrapper's result are.
    fn switch(&self, words: &[&str]) -> (Option<i32>, SwitchResult) {
        let mut command = self.folder.user_command("nixfleet-switch");
        self.in_nix(&mut command);
        let output = command.args(words).output().unwrap();
        let code = output.status.code();
        let id = self.folder.newest_switch().unwrap().unwrap();
        let result = self.folder.journal().unwrap().entry(id).result.present();
        (code, result.ok_or(output).unwrap())
    }

    fn switch_to_flake(&self) -> (Option<i32>, SwitchResult) {
        let flake = format!("path:{}#me@here", self.folder.path("flake").display());
        self.switch(&["--flake", &flake])
    }

    /// The number of a generation, read from the store.
    fn number_of(generation: Option<&String>) -> Option<u32> {
        let path = PathBuf::from(generation?).join("number");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What is in a store is read-only, for its owner too.
        let _ = Command::new("chmod").arg("-R").arg("u+w").arg(self.folder.path("nix")).status();
    }
}

/// Outcome, exit code, the generations' numbers before and after, and whether the activation came to its end.
type Told = (Outcome, Option<i32>, Option<u32>, Option<u32>, Activation);

fn told(result: &SwitchResult) -> Told {
    (
        result.outcome,
        result.exit_code,
        Home::number_of(result.generation_before.as_ref()),
        Home::number_of(result.generation_after.as_ref()),
        result.activation,
    )
}

#[test]
fn results_name_the_generations_of_a_real_nix() {
    if let Err(error) = Command::new("nix").arg("--version").output() {
        not_run(&format!("no nix ({error}); Debian's package is nix-bin"));
        return;
    }
    let home = Home::new();
    let greeting = || fs::read_to_string(home.folder.path("home/number")).unwrap();

    home.next(1, "succeeds");
    let (code, result) = home.switch_to_flake();
    let expected: Told = (Outcome::Succeeded, Some(0), None, Some(1), Activation::Complete);
    assert_eq!((code, told(&result)), (Some(0), expected), "{result:?}");
    assert_eq!(greeting().trim(), "1");

    home.next(2, "succeeds");
    let (code, result) = home.switch_to_flake();
    let expected: Told = (Outcome::Succeeded, Some(0), Some(1), Some(2), Activation::Complete);
    assert_eq!((code, told(&result)), (Some(0), expected), "{result:?}");

    // The profile is set before the activation, which does not come to its end.
    home.next(3, "fails");
    let (code, result) = home.switch_to_flake();
    let expected: Told = (Outcome::Failed, Some(5), Some(2), Some(3), Activation::Incomplete);
    assert_eq!((code, told(&result)), (Some(5), expected), "{result:?}");
    assert!(result.output_tail.contains("something that fails"), "{result:?}");

    let (code, result) = home.switch(&["--rollback"]);
    let expected: Told = (Outcome::Succeeded, Some(0), Some(3), Some(2), Activation::Complete);
    assert_eq!((code, told(&result)), (Some(0), expected), "{result:?}");
    assert_eq!(greeting().trim(), "2");

    // Built, compared, and nothing else.
    home.next(5, "succeeds");
    let flake = format!("path:{}", home.folder.path("flake").display());
    let config = format!("flake = {flake:?}\nflake_attribute = \"me@here\"\n");
    home.configure(&config);
    let (code, result) = home.switch(&["dry-run"]);
    let expected: Told = (Outcome::Succeeded, Some(0), Some(2), Some(2), Activation::Complete);
    assert_eq!((code, told(&result)), (Some(0), expected), "{result:?}");
    assert!(result.output_tail.contains("would become"), "{result:?}");

    // Back to what was there before, by its path: home-manager's command line has no part in it.
    let (code, result) = home.switch(&[]);
    assert_eq!((code, told(&result).3), (Some(0), Some(5)), "{result:?}");
    let (code, result) = home.switch(&["rollback"]);
    let expected: Told = (Outcome::Succeeded, Some(0), Some(5), Some(2), Activation::Complete);
    assert_eq!((code, told(&result)), (Some(0), expected), "{result:?}");
    assert_eq!(greeting().trim(), "2");

    home.next(4, "unbuildable");
    let (code, result) = home.switch_to_flake();
    let expected: Told = (Outcome::Failed, Some(1), Some(2), Some(2), Activation::Complete);
    assert_eq!((code, told(&result)), (Some(1), expected), "{result:?}");
    assert!(result.output_tail.contains("cannot be built"), "{result:?}");
}
