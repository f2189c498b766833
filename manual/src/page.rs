//! Manual pages, in the language of man(7).
//!
//! What clap knows is rendered by clap_mangen, and what it does not know comes from [`Words`].

use std::io;

use clap::Command;
use clap_mangen::Man;
use roff::{Roff, bold, roman};

use crate::{Manual, Table, Words, help::named};

/// When what the pages say was last changed; a page has to have a date, and that of the build would make each build another.
const CHANGED: &str = "2026-11-24";

/// The section for programs that users run.
const SECTION: &str = "1";

/// A page.
#[derive(Debug)]
pub(crate) struct Page {
    /// As man(1) looks for it.
    pub(crate) file_name: String,
    /// What is in the file.
    pub(crate) text: String,
}

/// The page of the program itself. An error is clap_mangen's.
pub(crate) fn of_program(command: &Command, manual: &Manual) -> io::Result<Page> {
    page(&built(command), &manual.program, manual)
}

/// The program's page and those of all commands that are not hidden.
pub(crate) fn all(command: &Command, manual: &Manual) -> io::Result<Vec<Page>> {
    let command = built(command);
    let mut pages = vec![page(&command, &manual.program, manual)?];
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let words = manual.words(verb.get_name()).unwrap_or(&Words::NONE);
        pages.push(page(verb, words, manual)?);
    }
    Ok(pages)
}

/// With the names that clap gives to commands, and with the flags that they get from the program.
fn built(command: &Command) -> Command {
    let mut command = command.clone();
    command.build();
    command
}

fn page(command: &Command, words: &Words, manual: &Manual) -> io::Result<Page> {
    let invocation = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let name = invocation.replace(' ', "-");
    let (program, verb) = match invocation.split_once(' ') {
        Some((program, verb)) => (program, Some(verb)),
        None => (invocation, None),
    };
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .section(SECTION)
        .date(CHANGED)
        .source(concat!("NixFleet ", env!("CARGO_PKG_VERSION")))
        .manual("NixFleet");

    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    paragraphs(words.description, program).to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|verb| !verb.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    for (heading, rows) in [
        ("EXIT STATUS", words.exit_codes),
        ("ENVIRONMENT", words.environment),
        ("FILES", words.files),
        ("EXAMPLES", words.examples),
    ] {
        section(heading, rows, program).to_writer(&mut page)?;
    }
    let own = verb.map(|_| format!("{program}({SECTION})"));
    see_also(own.as_deref().into_iter().chain(manual.see_also.iter().copied()))
        .to_writer(&mut page)?;
    Ok(Page {
        file_name: format!("{name}.{SECTION}"),
        text: tidied(&String::from_utf8_lossy(&page)),
    })
}

fn paragraphs(paragraphs: &[&str], program: &str) -> Roff {
    let mut roff = Roff::new();
    for paragraph in paragraphs {
        roff.control("PP", []).text([roman(named(paragraph, program))]);
    }
    roff
}

/// A section of rows, each a tagged paragraph.
fn section(heading: &str, rows: Table, program: &str) -> Roff {
    let mut roff = Roff::new();
    if !rows.is_empty() {
        roff.control("SH", [heading]);
    }
    for (left, right) in rows {
        roff.control("TP", [])
            .text([bold(named(left, program))])
            .text([roman(named(right, program))]);
    }
    roff
}

fn see_also<'a>(pages: impl Iterator<Item = &'a str>) -> Roff {
    let list = pages.collect::<Vec<_>>().join(", ");
    let mut roff = Roff::new();
    if !list.is_empty() {
        roff.control("SH", ["SEE ALSO"]).text([roman(list)]);
    }
    roff
}

/// One page of parts, each of which defines the apostrophe anew. Words in backticks become bold, and what would be
/// typeset as an accent stays what can be typed (groff_char(7)).
fn tidied(parts: &str) -> String {
    let is_definition = |line: &str| [".ie ", ".el "].iter().any(|word| line.starts_with(word));
    let (definitions, lines): (Vec<&str>, Vec<&str>) =
        parts.lines().partition(|line| is_definition(line));
    let definitions = definitions.into_iter().take(2);
    definitions.chain(lines).map(|line| emphasised(line.trim_end()) + "\n").collect()
}

fn emphasised(line: &str) -> String {
    let mut fonts = ["\\fB", "\\fR"].into_iter().cycle();
    let parts = line.split('`').map(|part| part.replace('~', "\\(ti").replace('^', "\\(ha"));
    let mut whole = String::new();
    for (number, part) in parts.enumerate() {
        if number > 0 {
            whole.extend(fonts.next());
        }
        whole.push_str(&part);
    }
    whole
}
