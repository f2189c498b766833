//! What the README says of happenings and faults can be sent as it stands there.

use nixfleet_tests::launchd::{Control, Fault};

const README: &str = include_str!("../../README.md");

/// The placeholders of the README, with something in their place.
const MEANT: [(&str, &str); 8] = [
    ("TARGET", r#"{"domain": {"gui": 501}, "label": "a"}"#),
    ("\"label\": LABEL", r#""label": "a""#),
    ("LABEL", r#""a""#),
    ("\"verdict\": V", r#""verdict": "killed_after_spawn""#),
    ("\"verb\": V", r#""verb": "bootout""#),
    ("\"times\": N", r#""times": 3"#),
    ("\"launchctl\": [..]", r#""launchctl": ["list"]"#),
    ("BYTES", "1000"),
];

fn section(title: &str) -> &'static str {
    let start = README.find(&format!("\n## {title}\n")).unwrap() + title.len() + 5;
    let rest = &README[start..];
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// What stands between backticks.
fn spans(text: &str) -> impl Iterator<Item = String> {
    let meant =
        |span: &str| MEANT.iter().fold(span.to_owned(), |text, (from, to)| text.replace(from, to));
    text.split('`').skip(1).step_by(2).map(meant)
}

#[test]
fn every_happening_can_be_sent() {
    let rows = section("Happenings").lines().filter_map(|line| line.strip_prefix("| "));
    let named: Vec<String> = rows
        .filter_map(|row| row.split(" | ").next())
        .flat_map(spans)
        .filter(|span| span.starts_with(['"', '{']))
        .collect();
    assert!(named.len() >= 15, "{named:?}");
    for span in named {
        serde_json::from_str::<Control>(&span).map_err(|error| format!("{span}: {error}")).unwrap();
    }
}

#[test]
fn every_fault_can_be_put_in_force() {
    let text = section("Faults");
    let (start, end) = (text.find("    [{").unwrap(), text.find("}]\n").unwrap() + 2);
    let examples: Vec<Fault> = serde_json::from_str(&text[start..end]).unwrap();
    assert_eq!(examples.len(), 6);
    let faults: Vec<String> = spans(text).filter(|span| span.starts_with("{\"verb\"")).collect();
    assert!(faults.len() >= 9, "{faults:?}");
    for span in faults {
        serde_json::from_str::<Fault>(&span).map_err(|error| format!("{span}: {error}")).unwrap();
    }
    for number in 1..=22 {
        assert!(text.contains(&format!("| F{number} ")), "F{number} is not told");
    }
}
