//! S12: what is printed (chapter 3).

use crate::common::{Bed, FOREVER, KEEP_ALIVE, LABEL, RUN_AT_LOAD, start};

/// Chapter 3: `list` and `list LABEL` [C].
#[test]
fn lists_in_the_old_style() {
    let bed = Bed::new();
    let pid = start(&bed, FOREVER, KEEP_ALIVE).as_raw_nonzero();
    let listing = bed.launchctl(&["list"]).stdout;
    assert_eq!(listing, format!("PID\tStatus\tLabel\n{pid}\t0\t{LABEL}\n"));
    let job = bed.launchctl(&["list", LABEL]).stdout;
    assert!(job.starts_with("{\n") && job.ends_with("};\n"), "{job}");
    for line in [
        format!("\t\"Label\" = \"{LABEL}\";"),
        "\t\"OnDemand\" = false;".to_owned(),
        "\t\"LastExitStatus\" = 0;".to_owned(),
        format!("\t\"PID\" = {pid};"),
    ] {
        assert!(job.lines().any(|have| have == line), "{line}: {job}");
    }
    assert_eq!(bed.launchctl(&["list", "none"]).code, Some(113));
}

/// Chapter 2: 64 [C].
#[test]
fn nonsense_is_a_usage_error() {
    let bed = Bed::new();
    for arguments in [&["frobnicate"][..], &["print"], &["print", LABEL], &[]] {
        let said = bed.launchctl(arguments);
        assert_eq!(said.code, Some(64), "{arguments:?}");
        assert!(said.stderr.contains("Usage:"), "{said:?}");
    }
    assert_eq!(bed.launchctl(&["version"]).code, Some(0));
}

/// Chapter 3, the skeleton of `print`, with what the plist says and look-alikes [C >=10 captures].
#[test]
fn print_shows_what_the_plist_says_and_look_alikes() {
    let bed = Bed::new();
    let keys = format!(
        "{RUN_AT_LOAD}<key>StandardOutPath</key><string>{out}</string>\
         <key>StandardErrorPath</key><string>{out}</string>\
         <key>EnvironmentVariables</key><dict><key>A</key><string>pid = 1\n\tstate = x</string></dict>",
        out = bed.path("out").display()
    );
    let pid = start(&bed, FOREVER, &keys).as_raw_nonzero();
    let text = bed.print(LABEL).stdout;
    for line in [
        format!("\tpath = {}", bed.agent_path(LABEL).display()),
        "\ttype = LaunchAgent".to_owned(),
        "\tprogram = /bin/bash".to_owned(),
        format!(
            "\tworking directory = {}",
            bed.path("").display().to_string().trim_end_matches('/')
        ),
        format!("\tstdout path = {}", bed.path("out").display()),
        format!("\tstderr path = {}", bed.path("out").display()),
        "\t\tXPC_SERVICE_NAME => com.example.job".to_owned(),
        "\tminimum runtime = 10".to_owned(),
        "\texit timeout = 5".to_owned(),
        "\truns = 1".to_owned(),
        format!("\tpid = {pid}"),
        "\timmediate reason = speculative".to_owned(),
        "\tlast exit code = (never exited)".to_owned(),
        "\tspawn type = daemon (3)".to_owned(),
        "\tjob state = running".to_owned(),
        "\tproperties = runatload | inferred program".to_owned(),
        "\t\tstate = active".to_owned(),
    ] {
        assert!(text.lines().any(|have| have == line), "{line:?} in {text}");
    }
}
