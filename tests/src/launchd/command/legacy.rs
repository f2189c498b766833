//! Reads the old verbs, which name no domain: they act on the caller's own.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    Command, LegacyOptions,
    parse::{USAGE_TEXT, only, usage},
};
use crate::launchd::{
    answer::Answer,
    definition::{DEFAULT_EXIT_TIMEOUT, DEFAULT_THROTTLE, Definition},
    keep_alive::KeepAlive,
};

pub(super) fn load(words: &[&str]) -> Result<Command, Answer> {
    paths(words).map(|(paths, options)| Command::Load { paths, options })
}

pub(super) fn unload(words: &[&str]) -> Result<Command, Answer> {
    paths(words).map(|(paths, options)| Command::Unload { paths, options })
}

pub(super) fn label(words: &[&str]) -> Result<String, Answer> {
    only(words).map(str::to_owned)
}

/// A job that is submitted is kept alive: it has no other way to be started.
pub(super) fn submit(words: &[&str]) -> Result<Command, Answer> {
    let (mut label, mut program, mut stdout, mut stderr) = (None, None, None, None);
    let mut rest = words;
    while let [flag, value, after @ ..] = rest {
        match *flag {
            "-l" => label = Some((*value).to_owned()),
            "-p" => program = Some((*value).to_owned()),
            "-o" => stdout = Some(PathBuf::from(value)),
            "-e" => stderr = Some(PathBuf::from(value)),
            _ => break,
        }
        rest = after;
    }
    let words = rest.strip_prefix(&["--"]).unwrap_or(rest);
    let arguments: Vec<String> = match (&program, words) {
        (Some(program), []) => vec![program.clone()],
        (_, words) => words.iter().map(|word| (*word).to_owned()).collect(),
    };
    let (Some(label), false) = (label, arguments.is_empty()) else {
        return Err(usage(USAGE_TEXT));
    };
    Ok(Command::Submit(Box::new(Definition {
        label,
        program,
        arguments,
        run_at_load: false,
        keep_alive: KeepAlive::Always,
        throttle: DEFAULT_THROTTLE,
        exit_timeout: Some(DEFAULT_EXIT_TIMEOUT),
        abandon_process_group: false,
        environment: BTreeMap::new(),
        stdout_path: stdout,
        stderr_path: stderr,
        working_directory: None,
        session_types: Some(vec!["Aqua".to_owned(), "Background".to_owned()]),
        disabled: false,
        start_interval: None,
    })))
}

pub(super) fn asuser(words: &[&str]) -> Result<Command, Answer> {
    let [uid, words @ ..] = words else {
        return Err(usage(USAGE_TEXT));
    };
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    match uid.parse() {
        Ok(uid) if !words.is_empty() => Ok(Command::Asuser { uid, words }),
        Ok(_) | Err(_) => Err(usage(USAGE_TEXT)),
    }
}

/// `-S SESSION` and `-D DOMAIN` are accepted and not followed.
fn paths(words: &[&str]) -> Result<(Vec<PathBuf>, LegacyOptions), Answer> {
    let mut options = LegacyOptions::default();
    let mut rest = words;
    while let [flag, after @ ..] = rest {
        let Some(letters) = flag.strip_prefix('-') else { break };
        rest = after;
        match letters {
            "S" | "D" => rest = after.split_first().ok_or_else(|| usage(USAGE_TEXT))?.1,
            _ => {
                for letter in letters.chars() {
                    match letter {
                        'w' => options.write = true,
                        'F' => options.force = true,
                        _ => return Err(usage(USAGE_TEXT)),
                    }
                }
            }
        }
    }
    if rest.is_empty() {
        return Err(usage(USAGE_TEXT));
    }
    Ok((rest.iter().map(PathBuf::from).collect(), options))
}
