//! What the three programs say of themselves: `--help`, completions, manual pages; judged by the shells and by man(1),
//! where they are.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nixfleet_tests::stage::{not_run, programs::Programs};

/// A program and what is known of it here.
struct Program {
    name: &'static str,
    path: PathBuf,
    /// A beginning of a word, and what becomes of it.
    completed: (&'static str, &'static str),
    /// Words of which no user is to know.
    hidden: &'static [&'static str],
}

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

fn programs() -> [Program; 3] {
    let all = Programs::get().unwrap();
    [
        Program {
            name: "nixfleet-switch",
            path: all.switch(),
            completed: ("ensure-w", "ensure-watchdog"),
            hidden: &["selftest-agent", "selftest-child", "selftest-home-manager", "in-own-scope"],
        },
        Program {
            name: "nixfleet-agent",
            path: all.agent(),
            completed: ("check", "check-config"),
            hidden: &[],
        },
        Program {
            name: "nixfleet-dashboard",
            path: all.dashboard(),
            completed: ("ser", "serve"),
            hidden: &["lease-seconds"],
        },
    ]
}

impl Program {
    /// Runs it where nothing is configured and nothing can be, as in the building of a package.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.path);
        command.args(arguments).stdin(Stdio::null()).env_clear();
        command.env("HOME", "/nonexistent").env("NIXFLEET_CONFIG", "/nonexistent/config.toml");
        command.output().unwrap()
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{} {arguments:?}: {output:?}", self.name);
        assert!(output.stderr.is_empty(), "{} {arguments:?}: {output:?}", self.name);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The commands that `--help` lists.
    fn commands(&self) -> Vec<String> {
        let help = self.said(&["--help"]);
        let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let list = list.take_while(|line| !line.is_empty());
        let named = list.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        named.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// The command line of each `--help`, with the name of the page that says the same.
    fn helps(&self) -> Vec<(String, String)> {
        let own = (self.said(&["--help"]), format!("{}.1", self.name));
        let commands = self.commands().into_iter();
        let others =
            commands.map(|verb| (self.said(&[&verb, "--help"]), format!("{}-{verb}.1", self.name)));
        [own].into_iter().chain(others).collect()
    }

    fn pages(&self, folder: &Path) {
        self.said(&["man", "--dir", folder.to_str().unwrap()]);
    }
}

/// Whether a program is there. If not, the test says that a part of it cannot run.
fn has(program: &str) -> bool {
    let package = if program == "man" { "man-db" } else { program };
    let folders = env::var_os("PATH").unwrap_or_default();
    let is_there = env::split_paths(&folders).any(|folder| folder.join(program).is_file());
    if !is_there {
        not_run(&format!(
            "there is no {program}; on Debian, `apt-get install {package}` brings it"
        ));
    }
    is_there
}

/// The output of a program that has to be content.
fn content(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The words of this form in a text.
fn long_options(text: &str) -> BTreeSet<&str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let words = text.split(|letter| !is_part(letter));
    words.filter(|word| word.len() > 2 && word.starts_with("--")).collect()
}

#[test]
fn help_has_examples_and_fits_a_terminal() {
    for program in programs() {
        for (help, name) in program.helps() {
            let (_, end) = help.split_once("\nExit codes:\n").unwrap_or_else(|| panic!("{help}"));
            assert!(end.contains("\nExamples:\n"), "{name}: {help}");
            for line in end.lines() {
                assert!(line.chars().count() <= 80, "{name}: {line}");
            }
            for hidden in program.hidden {
                assert!(!help.contains(hidden), "{hidden} in {name}: {help}");
            }
        }
    }
}

#[test]
fn every_shell_gets_a_script_without_what_is_hidden() {
    for program in programs() {
        for shell in SHELLS {
            let script = program.said(&["completions", shell]);
            for command in program.commands() {
                assert!(script.contains(&command), "{command} for {shell}: {script}");
            }
            for hidden in program.hidden {
                assert!(!script.contains(hidden), "{hidden} for {shell}: {script}");
            }
        }
    }
}

#[test]
fn bash_completes() {
    if !has("bash") {
        return;
    }
    // The function that is registered, called as bash calls it.
    let ask = r#"source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=1
        registered=$(complete -p "$1"); function=${registered#*-F }
        "${function%% *}" "$1" "$2" "$1"; printf '%s\n' "${COMPREPLY[@]}""#;
    for program in programs() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        fs::write(&script, program.said(&["completions", "bash"])).unwrap();
        content(Command::new("bash").arg("-n").arg(&script));
        let (begun, whole) = program.completed;
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", ask, "bash"]).arg(&script).args([program.name, begun]);
        assert_eq!(content(&mut bash), format!("{whole}\n"), "{}", program.name);
    }
}

#[test]
fn fish_completes() {
    if !has("fish") {
        return;
    }
    let ask = r#"source $argv[1]; complete --do-complete "$argv[2]""#;
    for program in programs() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        fs::write(&script, program.said(&["completions", "fish"])).unwrap();
        let (begun, whole) = program.completed;
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "-c", ask]).arg(&script);
        fish.arg(format!("{} {begun}", program.name)).env("HOME", folder.path());
        let offered = content(&mut fish);
        assert!(offered.starts_with(&format!("{whole}\t")), "{}: {offered}", program.name);
        assert_eq!(offered.lines().count(), 1, "{offered}");
    }
}

#[test]
fn zsh_knows_the_function() {
    if !has("zsh") {
        return;
    }
    let ask =
        r#"autoload -U compinit && compinit -D -u && source "$1" && print -r -- "$_comps[$2]""#;
    for program in programs() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        fs::write(&script, program.said(&["completions", "zsh"])).unwrap();
        content(Command::new("zsh").args(["-f", "-n"]).arg(&script));
        let mut zsh = Command::new("zsh");
        zsh.args(["-f", "-c", ask, "zsh"]).arg(&script).arg(program.name);
        assert_eq!(content(&mut zsh), format!("_{}\n", program.name));
    }
}

#[test]
fn every_command_has_a_page_that_says_what_help_says() {
    for program in programs() {
        let folder = tempfile::tempdir().unwrap();
        program.pages(folder.path());
        let mut expected = BTreeSet::new();
        for (help, name) in program.helps() {
            let page = fs::read_to_string(folder.path().join(&name)).unwrap();
            let page = page.replace("\\-", "-");
            for option in long_options(&help) {
                assert!(page.contains(option), "{option} in {name}: {page}");
            }
            for hidden in program.hidden {
                assert!(!page.contains(hidden), "{hidden} in {name}: {page}");
            }
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "\"EXIT STATUS\"", "EXAMPLES"] {
                assert!(
                    page.contains(&format!("\n.SH {section}\n")),
                    "{section} in {name}: {page}"
                );
            }
            expected.insert(name);
        }
        let entries = fs::read_dir(folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.collect::<BTreeSet<_>>(), expected);

        let own = fs::read_to_string(folder.path().join(format!("{}.1", program.name))).unwrap();
        assert_eq!(program.said(&["man"]), own);
    }
}

#[test]
fn readers_of_pages_have_no_complaint() {
    let [has_mandoc, has_man] = ["mandoc", "man"].map(has);
    for program in programs() {
        let folder = tempfile::tempdir().unwrap();
        program.pages(folder.path());
        for entry in fs::read_dir(folder.path()).unwrap() {
            let page = entry.unwrap().path();
            if has_mandoc {
                let complaints = content(
                    Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&page),
                );
                assert_eq!(complaints, "");
            }
            if has_man {
                let mut man = Command::new("man");
                man.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80").env_remove("MANROFFOPT");
                man.arg(&page);
                let text = content(&mut man);
                assert!(text.contains("EXIT STATUS") && !text.contains('`'), "{text}");
            }
        }
    }
}

#[test]
fn every_variable_of_the_config_file_is_in_a_page() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/src/config_file.rs");
    let source = fs::read_to_string(source).unwrap();
    let is_part = |letter: char| letter.is_ascii_uppercase() || letter == '_';
    let variables: BTreeSet<_> = source
        .split(|letter| !is_part(letter))
        .filter(|word| word.starts_with("NIXFLEET_"))
        .collect();
    assert!(variables.len() > 20, "{variables:?}");
    let [switch, agent, _dashboard] = programs();
    let pages = switch.said(&["man"]) + &agent.said(&["man"]);
    for variable in variables {
        assert!(pages.contains(variable), "{variable}");
    }
}

#[test]
fn what_cannot_be_said_is_said() {
    for program in programs() {
        for wrong in [vec!["completions"], vec!["completions", "tcsh"], vec!["man", "page"]] {
            let output = program.run(&wrong);
            assert_eq!(output.status.code(), Some(64), "{wrong:?}: {output:?}");
        }
        let output = program.run(&["man", "--dir", "/dev/null/man1"]);
        assert_eq!(output.status.code(), Some(74), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        for expected in [program.name, "/dev/null/man1", "--dir", "Not a directory"] {
            assert!(said.contains(expected), "{said}");
        }
    }
}
