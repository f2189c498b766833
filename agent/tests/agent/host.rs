//! What a heartbeat says of the host.

use std::{fs, io, path::Path};

use crate::support::{
    agent::Home,
    dashboard::{Dashboard, Speaks},
    wrapper::SUCCEEDS,
};
use serde_json::Value;

const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";

fn commit(checkout: &Path, revision: &str) -> io::Result<()> {
    let heads = checkout.join(".git/refs/heads");
    fs::create_dir_all(&heads)?;
    fs::write(checkout.join(".git/HEAD"), "ref: refs/heads/main\n")?;
    fs::write(heads.join("main"), format!("{revision}\n"))
}

#[test]
fn the_generation_is_the_checkout_s_revision_also_after_a_pull() {
    let dashboard = Dashboard::new(Speaks::V1);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let checkout = home.folder.path().join("nixcfg");
    commit(&checkout, ONE).unwrap();
    let home = home.with("NIXFLEET_REPO_DIR", checkout.to_str().unwrap());
    let _agent = home.start();
    let first = dashboard.first("POST", "/register");
    assert_eq!(first.body["current_generation"], ONE);
    assert_eq!(first.body["config_repo"], checkout.to_str().unwrap());
    commit(&checkout, TWO).unwrap();
    dashboard.call("POST", "/register", |call| call.body["current_generation"] == TWO);
    dashboard.queue("", "switch");
    let status = dashboard.first("POST", "/status");
    assert_eq!(status.body["current_generation"], TWO);
}

#[test]
fn the_checkout_is_the_one_that_switches_are_made_from() {
    let url = "https://git.example.org/nixcfg";
    for (variables, checkout) in [
        (&[("NIXFLEET_FLAKE", "flake"), ("NIXFLEET_REPO_DIR", "named")][..], "flake"),
        (&[("NIXFLEET_FLAKE", "flake/hosts/mac")], "flake"),
        (&[("NIXFLEET_REPO_URL", url)], ".local/state/nixfleet/repo"),
        (&[("NIXFLEET_REPO_URL", url), ("NIXFLEET_FLAKE", "flake")], "flake"),
        (&[("NIXFLEET_FLAKE", "github:me/nixcfg"), ("NIXFLEET_REPO_DIR", "named")], "named"),
    ] {
        let dashboard = Dashboard::new(Speaks::V1);
        let mut home = Home::new(&dashboard.url(), SUCCEEDS);
        let folder = home.folder.path().to_owned();
        for name in ["flake", "named", ".local/state/nixfleet/repo"] {
            commit(&folder.join(name), if name == checkout { ONE } else { TWO }).unwrap();
        }
        for (name, value) in variables {
            let path = folder.join(value);
            let is_path = !value.contains(':');
            home = home.with(name, if is_path { path.to_str().unwrap() } else { value });
        }
        let _agent = home.start();
        let first = dashboard.first("POST", "/register");
        assert_eq!(first.body["current_generation"], ONE, "{variables:?}");
    }
}

#[test]
fn a_home_folder_that_nobody_named_is_no_checkout() {
    let dashboard = Dashboard::new(Speaks::V1);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    commit(home.folder.path(), ONE).unwrap();
    let profiles = home.folder.path().join(".local/state/nix/profiles");
    fs::create_dir_all(&profiles).unwrap();
    let generation = home.folder.path().join("0c2zj1y6-home-manager-generation");
    fs::create_dir(&generation).unwrap();
    std::os::unix::fs::symlink(&generation, profiles.join("home-manager")).unwrap();
    let _agent = home.start();
    let first = dashboard.first("POST", "/register");
    assert_eq!(first.body["current_generation"], "0c2zj1y6");
}

#[test]
fn the_system_is_named_and_its_load_is_told_unless_that_is_not_wanted() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    let loaded = dashboard.call("POST", "/register", |call| !call.body["metrics"].is_null());
    for name in ["cpu", "ram"] {
        let value = loaded.body["metrics"][name].as_f64().unwrap();
        assert!((0.0..=100.0).contains(&value), "{name} = {value}");
    }
    assert!(loaded.body["metrics"]["load"].is_string(), "{}", loaded.body);
    for name in ["os_name", "os_version"] {
        assert!(loaded.body[name].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
    drop(agent);

    let quiet = Dashboard::new(Speaks::V2);
    let home = home.with("NIXFLEET_URL", &quiet.url()).with("NIXFLEET_METRICS", "false");
    let _agent = home.start();
    quiet.first("GET", "/poll");
    crate::support::eventually("three heartbeats", || {
        (quiet.calls("POST", "/register").len() >= 3).then_some(())
    });
    for call in quiet.calls("POST", "/register") {
        assert_eq!(call.body.get("metrics"), None::<&Value>);
    }
}
