//! What the agent says about its configuration, and how it ends when that makes no sense.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Output};

use crate::support::{
    agent::{Home, SHARED_TOKEN},
    wrapper::SUCCEEDS,
};
use serde_json::Value;

const URL: &str = "https://fleet.example.org";

fn home() -> Home {
    Home::new(URL, SUCCEEDS)
}

/// The agent ends with this code and says all of these things, and no token.
#[track_caller]
fn check(ended: &Output, code: i32, parts: &[&str]) {
    let stdout = String::from_utf8_lossy(&ended.stdout);
    let said = format!("{stdout}{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(ended.status.code(), Some(code), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    assert!(!said.contains(SHARED_TOKEN) && !said.contains("s3cret"), "{said}");
}

#[test]
fn a_mistake_is_named_with_key_value_and_source() {
    for (name, value, parts) in [
        (
            "NIXFLEET_URL",
            "http://fleet.example.org",
            &["url", "http://fleet.example.org", "NIXFLEET_URL", "allow_insecure_http"][..],
        ),
        ("NIXFLEET_URL", "fleet", &["url", "\"fleet\"", "NIXFLEET_URL", "https://"]),
        ("NIXFLEET_URL", "https://a:s3cret@fleet", &["url", "NIXFLEET_URL", "password"]),
        ("NIXFLEET_INTERVAL", "0", &["interval", "\"0\"", "NIXFLEET_INTERVAL", "1 to 3600"]),
        ("NIXFLEET_INTERVAL", "30s", &["interval", "\"30s\"", "NIXFLEET_INTERVAL"]),
        ("NIXFLEET_HOSTNAME", "my_mac.local", &["hostname", "my_mac.local", "\"my-mac\""]),
        ("NIXFLEET_LOG_LEVEL", "loud", &["log_level", "\"loud\"", "`info`"]),
        ("NIXFLEET_LOG_FORMAT", "xml", &["log_format", "\"xml\"", "`json`"]),
        ("NIXFLEET_STATE_DIR", "state", &["state_dir", "\"state\"", "begins with `/`"]),
        ("NIXFLEET_REPO_DIR", "repo", &["repo_dir", "\"repo\"", "begins with `/`"]),
        ("NIXFLEET_SWITCH", "bin/x", &["switch", "\"bin/x\"", "begins with `/`"]),
        ("NIXFLEET_CA_FILE", "/nonexistent.pem", &["ca_file", "/nonexistent.pem", "No such file"]),
        ("NIXFLEET_CA_FILE", "/dev/null", &["ca_file", "/dev/null", "PEM"]),
        ("NIXFLEET_PINNED_PUBKEY", "sha256//abc", &["pinned_public_key", "sha256//abc", "curl"]),
        (
            "NIXFLEET_TOKEN_FILE",
            "/nonexistent",
            &["token_file", "/nonexistent", "NIXFLEET_TOKEN_FILE"],
        ),
        ("NIXFLEET_METRICS", "some", &["metrics", "\"some\"", "NIXFLEET_METRICS", "`true`"]),
        ("NIXFLEET_TOKEN", "s3cret with spaces", &["token", "NIXFLEET_TOKEN"]),
        (
            "NIXFLEET_CONFIG",
            "/nonexistent.toml",
            &["config file /nonexistent.toml", "No such file"],
        ),
        (
            "NIXFLEET_ALLOW_INSECURE_HTTP",
            "perhaps",
            &["allow_insecure_http", "\"perhaps\"", "`true`"],
        ),
    ] {
        let home = home().without("NIXFLEET_ALLOW_INSECURE_HTTP").with(name, value);
        check(&home.run(&[]), 78, parts);
        check(&home.run(&["check-config"]), 78, parts);
        assert!(!home.state().exists(), "nothing is created before the settings are good");
    }
}

#[test]
fn a_mistake_in_the_file_is_named_with_its_line() {
    for (text, parts) in [
        ("intervall = 5\n", &["config.toml", "intervall", "line 1"][..]),
        ("url = 5\n", &["config.toml", "url", "line 1"]),
        ("not toml", &["config.toml", "line 1"]),
        ("device_type = \"container\"\n", &["device_type", "container", "config.toml", "`laptop`"]),
        ("theme_color = \"blue\"\n", &["theme_color", "blue", "config.toml", "#769ff0"]),
        ("criticality = \"extreme\"\n", &["criticality", "extreme", "`high`"]),
    ] {
        let home = home();
        let path = home.write_private("config.toml", text);
        check(&home.with("NIXFLEET_CONFIG", path.to_str().unwrap()).run(&["run"]), 78, parts);
    }
}

#[test]
fn the_token_comes_from_one_place() {
    let home = home().without("NIXFLEET_TOKEN_FILE");
    let path = home.folder.path().join("config.toml");
    let home = home.with("NIXFLEET_CONFIG", path.to_str().unwrap());
    let pin = "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    for (text, code, parts) in [
        ("token_file = \"/x\"\ntoken_command = [\"show\"]\n", 78, &["both set", "keep one"][..]),
        ("token_command = []\n", 78, &["token_command", "absolute path"]),
        ("token_command = [\"bin/show\"]\n", 78, &["token_command", "absolute path"]),
        ("token_command = \"show it\"\n", 78, &["token_command", "sequence"]),
        (
            "token_command = [\"/nonexistent/show\", \"s3cret\"]\n",
            0,
            &["token = \"(by /nonexistent/show, not shown)\"", "config.toml"],
        ),
        (
            &format!("token_command = [\"show\"]\npinned_public_key = [\"{pin}\", \"{pin}\"]\n"),
            0,
            &[&format!("pinned_public_key = \"{pin};{pin}\"  (config file")],
        ),
    ] {
        home.write_private("config.toml", text);
        check(&home.run(&["check-config"]), code, parts);
    }
    let plain = home.with("NIXFLEET_URL", "http://127.0.0.1:1");
    plain.write_private("config.toml", &format!("pinned_public_key = \"{pin}\"\n"));
    check(&plain.run(&["check-config"]), 78, &["pinned_public_key", "plain http"]);
}

#[test]
fn what_is_missing_is_named_with_all_ways_to_set_it() {
    let nothing = home().without("NIXFLEET_URL").without("NIXFLEET_TOKEN_FILE");
    let parts =
        ["url is not set", "--url", "NIXFLEET_URL", "token_file is not set", "NIXFLEET_TOKEN"];
    check(&nothing.run(&[]), 78, &parts);
}

#[test]
fn a_token_file_that_others_can_read_is_refused_with_the_remedy() {
    let home = home();
    let path = home.folder.path().join("token");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    check(&home.run(&[]), 78, &["0644", "chmod 600", path.to_str().unwrap()]);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    check(&home.run(&[]), 78, &["not a regular file"]);
}

#[test]
fn check_config_says_what_is_set_and_by_what() {
    let home = home();
    let path = home.write_private("config.toml", "interval = 7\nlocation = \"home\"\n");
    let home = home.without("NIXFLEET_INTERVAL").with("NIXFLEET_CONFIG", path.to_str().unwrap());
    let ended = home.run(&["check-config", "--hostname=Other"]);
    let parts = [
        "url = \"https://fleet.example.org\"  (environment variable NIXFLEET_URL)",
        "hostname = \"Other\"  (flag --hostname)",
        "interval = \"7\"  (config file ",
        "log_level = \"info\"  (default)",
        "not shown",
    ];
    check(&ended, 0, &parts);

    let ended = home.run(&["check-config", "--json"]);
    let said: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(said["ok"], true);
    assert_eq!(said["settings"]["interval"]["value"], "7");
    let ended = home.run(&["check-config", "--json", "--interval=x"]);
    assert_eq!(ended.status.code(), Some(78));
    let said: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(said["ok"], false);
    assert!(said["errors"][0].as_str().unwrap().contains("flag --interval"), "{said}");
    assert!(!home.state().exists(), "check-config changes nothing");
}

#[test]
fn the_command_line_has_its_own_exit_codes() {
    check(&home().run(&["--help"]), 0, &["Examples:", "--token-file", "check-config", "75"]);
    check(&home().run(&["--version"]), 0, &[env!("CARGO_PKG_VERSION")]);
    for arguments in [&["--no-such-flag"][..], &["no-such-verb"], &["--token", "x"]] {
        check(&home().run(arguments), 64, &["Usage"]);
    }
}

#[test]
fn plain_http_may_be_allowed_in_all_spellings() {
    for value in ["true", "1", "yes"] {
        let home = home().with("NIXFLEET_URL", "http://127.0.0.1:1");
        let home = home.with("NIXFLEET_ALLOW_INSECURE_HTTP", value);
        check(&home.run(&["check-config"]), 0, &["http://127.0.0.1:1"]);
    }
    let home = home().without("NIXFLEET_ALLOW_INSECURE_HTTP");
    let plain = ["check-config", "--url=http://127.0.0.1:1", "--allow-insecure-http"];
    check(&home.run(&plain), 0, &["flag --allow-insecure-http"]);
    check(&home.run(&plain[..2]), 78, &["unencrypted"]);
}
