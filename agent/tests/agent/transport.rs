//! TLS, the pinned public key, proxies.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::net::TcpListener;

use crate::support::{
    agent::{Agent, Home, SHARED_TOKEN},
    dashboard::{Answer, Dashboard, Speaks},
    eventually,
    proxy::Proxy,
    tls::{Authority, Front},
    wrapper::SUCCEEDS,
};
use rustls::version::{TLS12, TLS13};

const OTHER_PIN: &str = "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

fn home(url: &str) -> Home {
    Home::new(url, SUCCEEDS).without("NIXFLEET_ALLOW_INSECURE_HTTP")
}

fn trusting(authority: &Authority, url: &str) -> Home {
    let home = home(url);
    let file = authority.file(&home);
    home.with("NIXFLEET_CA_FILE", file.to_str().unwrap())
}

/// What the agent writes down of why it does not get on with the dashboard.
fn failure(agent: &Agent) -> String {
    eventually("it fails", || agent.record()?.dashboard?.failure)
}

#[test]
fn an_authority_of_one_s_own_is_trusted_when_it_is_named() {
    let dashboard = Dashboard::new(Speaks::V2);
    let authority = Authority::new();
    for versions in [&BOTH[..], &[&TLS12]] {
        let front = Front::new(&authority, "127.0.0.1", versions, dashboard.address());
        let before = dashboard.calls("POST", "/register").len();
        let home = home(&front.url());
        let stranger = home.start();
        assert!(failure(&stranger).contains("UnknownIssuer"), "{}", failure(&stranger));
        assert_eq!(dashboard.calls("POST", "/register").len(), before);
        let home = trusting(&authority, &front.url());
        let _agent = home.start();
        eventually("it registers", || dashboard.calls("POST", "/register").get(before).cloned());
    }
}

#[test]
fn a_certificate_of_another_name_is_refused() {
    let dashboard = Dashboard::new(Speaks::V2);
    let authority = Authority::new();
    let front = Front::new(&authority, "fleet.example.org", &BOTH, dashboard.address());
    let home = trusting(&authority, &front.url()).with("NIXFLEET_PINNED_PUBKEY", front.pin());
    let agent = home.start();
    assert!(failure(&agent).contains("not valid for name"), "{}", failure(&agent));
    assert!(dashboard.calls("POST", "").is_empty());
}

#[test]
fn one_of_the_pinned_keys_has_to_be_the_dashboard_s() {
    let dashboard = Dashboard::new(Speaks::V2);
    let authority = Authority::new();
    let front = Front::new(&authority, "127.0.0.1", &BOTH, dashboard.address());
    let pinned =
        |pins: &str| trusting(&authority, &front.url()).with("NIXFLEET_PINNED_PUBKEY", pins);
    let other = pinned(OTHER_PIN);
    let agent = other.start();
    let expected = format!("public key of 127.0.0.1 is {} and not one of the pinned", front.pin());
    assert!(failure(&agent).contains(&expected), "{}", failure(&agent));
    agent.wait_until_logged(&expected);
    assert!(dashboard.calls("POST", "").is_empty(), "the token has not left the host");
    drop(agent);
    // It is no word for the certificate.
    let without_authority = home(&front.url()).with("NIXFLEET_PINNED_PUBKEY", front.pin());
    let stranger = without_authority.start();
    assert!(failure(&stranger).contains("UnknownIssuer"), "{}", failure(&stranger));
    drop(stranger);
    let good = pinned(&format!("{OTHER_PIN};{}", front.pin()));
    let _agent = good.start();
    assert_eq!(dashboard.first("POST", "/register").token, SHARED_TOKEN);
}

#[test]
fn a_server_that_is_silent_before_tls_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = home(&format!("https://{}", listener.local_addr().unwrap()));
    let agent = home.start();
    let began = std::time::Instant::now();
    assert!(failure(&agent).contains("did not answer in time"), "{}", failure(&agent));
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn the_proxy_of_the_environment_is_used_and_its_password_kept() {
    let dashboard = Dashboard::new(Speaks::V2);
    let authority = Authority::new();
    let front = Front::new(&authority, "127.0.0.1", &BOTH, dashboard.address());
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let proxy = Proxy::new(None);
        let before = dashboard.calls("POST", "/register").len();
        let home = trusting(&authority, &front.url()).with(variable, &proxy.url("me", "pa55word"));
        let agent = home.start();
        eventually("it registers", || dashboard.calls("POST", "/register").get(before).cloned());
        let heads = proxy.heads();
        assert!(heads[0].starts_with("CONNECT 127.0.0.1:"), "{heads:?}");
        // `me:pa55word`
        let lower = heads[0].to_ascii_lowercase();
        assert!(lower.contains("proxy-authorization: basic bwu6cge1nxdvcmq="), "{heads:?}");
        assert!(!heads.concat().contains(SHARED_TOKEN), "the proxy does not see the token");
        assert!(!agent.log().contains("pa55word"));
    }
    let proxy = Proxy::new(None);
    let before = dashboard.calls("POST", "/register").len();
    let home = trusting(&authority, &front.url())
        .with("HTTPS_PROXY", &proxy.url("me", "pa55word"))
        .with("NO_PROXY", "localhost,127.0.0.1");
    let _agent = home.start();
    eventually("it registers", || dashboard.calls("POST", "/register").get(before).cloned());
    assert!(proxy.heads().is_empty());
}

#[test]
fn plain_http_goes_through_its_own_proxy() {
    let dashboard = Dashboard::new(Speaks::V2);
    let (proxy, other) = (Proxy::new(None), Proxy::new(None));
    let home = Home::new(&dashboard.url(), SUCCEEDS)
        .with("http_proxy", &proxy.url("me", "pa55word"))
        .with("HTTPS_PROXY", &other.url("me", "pa55word"));
    let _agent = home.start();
    dashboard.first("POST", "/register");
    assert!(proxy.heads()[0].starts_with("POST http://127.0.0.1:"), "{:?}", proxy.heads());
    assert!(other.heads().is_empty());
}

#[test]
fn a_proxy_that_refuses_is_named_without_its_password() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refusing = Proxy::new(Some("HTTP/1.1 407 Proxy Authentication Required"));
    for url in [refusing.url("me", "pa55word"), format!("http://me:pa55word@{gone}")] {
        let home = home("https://fleet.example.org").with("HTTPS_PROXY", &url);
        let agent = home.start();
        assert!(failure(&agent).contains("HTTPS_PROXY names a proxy"), "{}", failure(&agent));
        assert!(!agent.log().contains("pa55word"), "{}", agent.log());
        let record = std::fs::read_to_string(home.state().join("agent.json")).unwrap();
        assert!(!record.contains("pa55word"), "{record}");
    }
}

#[test]
fn no_redirect_is_followed_wherever_it_leads() {
    let elsewhere = Dashboard::new(Speaks::V2);
    let dashboard = Dashboard::new(Speaks::V2);
    for status in [301, 302, 303, 307, 308] {
        for target in [elsewhere.url(), format!("{}/api/hosts/host/register", dashboard.url())] {
            let location = &*format!("Location: {target}\r\n").leak();
            dashboard.script(move |_| Some(Answer::Text(status, location, String::new())));
            let home = Home::new(&dashboard.url(), SUCCEEDS);
            let agent = home.start();
            let why = failure(&agent);
            assert!(why.contains(&format!("redirects (status {status})")), "{why}");
            assert!(why.contains("not followed"), "{why}");
        }
    }
    assert!(elsewhere.calls("", "").is_empty());
}
