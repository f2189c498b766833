//! The end of `--help`.

use crate::{Table, Words};

/// The width of a terminal that nobody has changed. clap breaks longer lines without regard to columns.
pub(crate) const WIDTH: usize = 80;

/// Description, exit codes and examples, the examples last: that is where a reader looks.
pub(crate) fn end(words: &Words, program: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(words.description.iter().map(|paragraph| (*paragraph).to_owned()));
    parts.extend(table("Exit codes", words.exit_codes));
    parts.extend(table("Examples", words.examples));
    named(&parts.join("\n\n"), program)
}

/// The words with the program's name in them.
pub(crate) fn named(text: &str, program: &str) -> String {
    text.replace("{program}", program)
}

/// Two columns where they fit, else each row on two lines.
fn table(heading: &str, rows: Table) -> Option<String> {
    let first = rows.iter().map(|(left, _)| left.chars().count()).max()?;
    let second = rows.iter().map(|(_, right)| right.chars().count()).max()?;
    let fits = first + second + 4 <= WIDTH;
    let rows = rows.iter().map(|(left, right)| {
        if fits {
            format!("\n  {left:first$}  {right}")
        } else {
            format!("\n  {left}\n      {right}")
        }
    });
    Some(format!("{heading}:{}", rows.collect::<String>()))
}
