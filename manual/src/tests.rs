//! The rules, on a program that has one of everything.

use clap::{CommandFactory as _, ValueEnum as _};

use super::*;

/// Keeps a toy's `promise`
#[derive(Debug, Parser)]
#[command(name = "nixfleet-toy", version, disable_help_subcommand = true)]
struct Line {
    /// Where the toy's things are
    #[arg(long, global = true, env = "TOY_HOME", hide_env_values = true)]
    home: Option<String>,
    /// Only for those who know
    #[arg(long, hide = true)]
    secret: bool,
    #[command(subcommand)]
    verb: Option<Doing>,
}

#[derive(Debug, Subcommand)]
enum Doing {
    /// Play
    Play {
        /// How long
        #[arg(long, default_value_t = 5)]
        minutes: u8,
        /// Unseen
        #[arg(long, hide = true)]
        cheat: bool,
    },
    #[command(flatten)]
    Manual(Verb),
    /// Unseen
    #[command(hide = true)]
    Inward,
}

const MANUAL: Manual = Manual {
    program: Words {
        description: &["It won't hurt. Type `play` in ~/toys."],
        exit_codes: &[("0", "it was fun"), ("1", "it was not")],
        environment: &[("TOY_COLOUR", "What it looks like.")],
        files: &[("~/.toy", "The toy of {program}.")],
        examples: &[("{program} play", "play for a while")],
    },
    commands: &[(
        "play",
        Words {
            examples: &[(
                "{program} play --minutes 60 | tee play.log",
                "play for an hour, and keep all that was said while it went on",
            )],
            ..Words::NONE
        },
    )],
    see_also: &["toy(6)"],
};

fn command() -> Command {
    MANUAL.complete(Line::command())
}

fn help(words: &[&str]) -> String {
    let words = ["nixfleet-toy"].iter().chain(words).map(OsString::from);
    MANUAL.parse::<Line>(words).unwrap_err().to_string()
}

fn page(name: &str) -> String {
    let pages = page::all(&command(), &MANUAL).unwrap();
    pages.into_iter().find(|page| page.file_name == name).unwrap().text
}

#[test]
fn the_definition_is_sound() {
    command().debug_assert();
}

#[test]
fn a_command_line_is_read_as_ever() {
    let words = ["nixfleet-toy", "play", "--minutes", "7", "--home", "/h"].map(OsString::from);
    let line = MANUAL.parse::<Line>(words).unwrap();
    assert!(matches!(line.verb, Some(Doing::Play { minutes: 7, cheat: false })));
    assert_eq!(line.home.as_deref(), Some("/h"));
    for words in [["man", "--home=/h"], ["--home=/h", "man"]] {
        let words = ["nixfleet-toy"].into_iter().chain(words).map(OsString::from);
        let line = MANUAL.parse::<Line>(words).unwrap();
        assert_eq!(line.home.as_deref(), Some("/h"));
    }
    assert!(help(&["play", "--minutes", "x"]).contains("--minutes"));
}

#[test]
fn help_ends_with_exit_codes_and_examples() {
    let shown = help(&["--help"]);
    let end = "Exit codes:\n  0  it was fun\n  1  it was not\n\n\
               Examples:\n  nixfleet-toy play  play for a while\n";
    assert!(shown.ends_with(end), "{shown}");
    assert!(!shown.contains("TOY_COLOUR") && !shown.contains("inward"), "{shown}");
    let shown = help(&["play", "--help"]);
    let end = "Examples:\n  nixfleet-toy play --minutes 60 | tee play.log\n      \
               play for an hour, and keep all that was said while it went on\n";
    assert!(shown.ends_with(end), "{shown}");
    assert!(shown.contains("--home"), "{shown}");
    assert!(!help(&["man", "--help"]).contains("--home"));
}

#[test]
fn a_page_has_all_sections_in_the_usual_order() {
    let page = page("nixfleet-toy.1");
    let sections: Vec<_> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
    let expected = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "SUBCOMMANDS",
        "\"EXIT STATUS\"",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
        "\"SEE ALSO\"",
    ];
    assert_eq!(sections, expected);
    assert!(page.ends_with("toy(6)\n"), "{page}");
}

#[test]
fn a_page_is_sound_roff() {
    let page = page("nixfleet-toy.1");
    assert_eq!(page.matches(".ds Aq").count(), 2, "{page}");
    for expected in [
        "nixfleet\\-toy \\- Keeps a toy\\*(Aqs \\fBpromise\\fR\n",
        "It won\\*(Aqt hurt. Type \\fBplay\\fR in \\(ti/toys.\n",
        ".TP\n\\fB\\(ti/.toy\\fR\nThe toy of nixfleet\\-toy.\n",
        "\\fBTOY_HOME\\fR environment variable.\n",
    ] {
        assert!(page.contains(expected), "{expected} in {page}");
    }
}

#[test]
fn what_is_hidden_has_no_page_and_is_in_none() {
    let pages = page::all(&command(), &MANUAL).unwrap();
    let names: Vec<_> = pages.iter().map(|page| page.file_name.as_str()).collect();
    let expected =
        ["", "-play", "-completions", "-man"].map(|verb| format!("nixfleet-toy{verb}.1"));
    assert_eq!(names, expected);
    for page in pages {
        for hidden in ["secret", "cheat", "inward", "Unseen"] {
            assert!(!page.text.contains(hidden), "{hidden} in {page:?}");
        }
    }
}

#[test]
fn what_is_hidden_is_not_completed() {
    for &shell in Shell::value_variants() {
        let script = completions::script(&command(), shell);
        let script = String::from_utf8(script).unwrap();
        for seen in ["play", "minutes", "home", "completions"] {
            assert!(script.contains(seen), "{seen} for {shell}");
        }
        for hidden in ["secret", "cheat", "inward", "Unseen"] {
            assert!(!script.contains(hidden), "{hidden} for {shell}");
        }
    }
}

#[test]
fn pages_go_where_they_are_wanted_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("share/man1");
    let verb = Verb::Man(Man { dir: Some(dir.clone()) });
    for _time in 0..2 {
        verb.perform(Line::command(), &MANUAL).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 4);
    }
    assert_eq!(fs::read_to_string(dir.join("nixfleet-toy.1")).unwrap(), page("nixfleet-toy.1"));
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let in_the_way = folder.path().join("nixfleet-toy.1");
    fs::create_dir(&in_the_way).unwrap();
    for (dir, named) in [(&file, &file), (&folder.path().to_owned(), &in_the_way)] {
        let verb = Verb::Man(Man { dir: Some(dir.clone()) });
        let error = verb.perform(Line::command(), &MANUAL).unwrap_err();
        assert!(!error.is_closed_pipe());
        let said = error.to_string();
        assert!(said.contains(&*named.to_string_lossy()) && said.contains("--dir"), "{said}");
    }
}
