//! The findings for people: grouped, the most urgent first.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::finding::{Area, Finding, Severity};

/// Explanations are broken here.
const WIDTH: usize = 92;

/// How far what belongs to a finding is moved in.
const INDENT: &str = "          ";

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// For a terminal: signs and colours.
    Coloured,
    /// Words.
    Plain,
}

/// All findings, and what they come to.
pub(super) fn findings(findings: &[Finding], look: Look) -> String {
    let mut text = String::new();
    for (area, of_area) in grouped(findings) {
        text.push_str(&heading(area, look));
        for finding in of_area {
            text.push_str(&one(finding, look));
        }
        text.push('\n');
    }
    text.push_str(&conclusion(findings));
    text
}

/// The areas, and the findings in each, the most urgent first; what is as urgent stays in its order.
fn grouped(findings: &[Finding]) -> Vec<(Area, Vec<&Finding>)> {
    let mut areas: Vec<(Area, Vec<&Finding>)> = Vec::new();
    for finding in findings {
        match areas.iter_mut().find(|(area, _)| *area == finding.area) {
            Some((_, of_area)) => of_area.push(finding),
            None => areas.push((finding.area, vec![finding])),
        }
    }
    for (_, of_area) in &mut areas {
        of_area.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    }
    areas.sort_by_key(|(_, of_area)| {
        std::cmp::Reverse(of_area.iter().map(|finding| finding.severity).max())
    });
    areas
}

fn heading(area: Area, look: Look) -> String {
    match look {
        Look::Coloured => {
            let bold = Style::new().bold();
            format!("{bold}{}{bold:#}\n", area.heading())
        }
        Look::Plain => format!("{}\n", area.heading()),
    }
}

fn one(finding: &Finding, look: Look) -> String {
    let mut text = format!("  {}", label(finding.severity, look));
    text.push_str(&wrapped(&finding.summary).join(&format!("\n{INDENT}")));
    text.push('\n');
    if finding.severity == Severity::Ok {
        return text;
    }
    for line in wrapped(&finding.explanation) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{INDENT}{line}");
    }
    for command in finding.remedy.iter().flatten() {
        let _ = writeln!(text, "{INDENT}  $ {command}");
    }
    text
}

/// Eight columns.
fn label(severity: Severity, look: Look) -> String {
    let (word, sign, colour) = match severity {
        Severity::Ok => ("ok", "✓", AnsiColor::Green),
        Severity::Info => ("info", "i", AnsiColor::Blue),
        Severity::Unknown => ("unknown", "?", AnsiColor::Cyan),
        Severity::Warning => ("warn", "!", AnsiColor::Yellow),
        Severity::Error => ("fail", "✗", AnsiColor::Red),
    };
    match look {
        Look::Plain => format!("{word:<8}"),
        Look::Coloured => {
            let style = colour.on_default().bold();
            format!("{style}{sign}{style:#}       ")
        }
    }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line)
                if line.chars().count() + 1 + word.chars().count() <= WIDTH - INDENT.len() =>
            {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn conclusion(findings: &[Finding]) -> String {
    let number = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (number(Severity::Error), number(Severity::Warning));
    let unknown = match number(Severity::Unknown) {
        0 => String::new(),
        1 => " One thing cannot be told from here.".to_owned(),
        several => format!(" {several} things cannot be told from here."),
    };
    match errors + warnings {
        0 => format!("Nothing needs attention.{unknown}\n"),
        1 => format!("One thing needs attention.{unknown}\n"),
        several => format!("{several} things need attention.{unknown}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Id;

    fn some() -> Vec<Finding> {
        vec![
            Finding::ok(Id::Configuration, "the configuration makes sense"),
            Finding::ok(Id::AgentDefinition, "the definition is fine"),
            Finding::unknown(Id::LoginItems, "cannot tell").because("Only root can."),
            Finding::error(Id::AgentLabelMissing, "launchd does not know the label")
                .because("word ".repeat(30))
                .mended_by(["nixfleet-switch ensure-agent".to_owned()]),
            Finding::warning(Id::DiskNearlyFull, "little room"),
        ]
    }

    #[test]
    fn the_most_urgent_comes_first_and_each_command_has_a_line() {
        let text = findings(&some(), Look::Plain);
        let order = [
            "Agent\n",
            "  fail    launchd",
            "  ok      the def",
            "State dir",
            "  warn",
            "Service man",
            "  unknown",
            "Configuration\n",
        ];
        let places: Vec<usize> = order.iter().map(|part| text.find(part).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
        assert!(text.contains("\n            $ nixfleet-switch ensure-agent\n"), "{text}");
        assert!(text.ends_with("2 things need attention. One thing cannot be told from here.\n"));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('✗'), "{text}");
    }

    #[test]
    fn a_terminal_gets_signs() {
        let text = findings(&some(), Look::Coloured);
        assert!(text.contains('✗') && text.contains('✓') && text.contains('\u{1b}'), "{text}");
        assert!(!text.contains("fail "), "{text}");
    }

    #[test]
    fn nothing_to_do_is_said_so() {
        let text = findings(&[Finding::ok(Id::Configuration, "fine")], Look::Plain);
        assert_eq!(text, "Configuration\n  ok      fine\n\nNothing needs attention.\n");
    }
}
