//! S1: domains and labels (chapters 2, 3).

use nixfleet_tests::launchd::Session;

use crate::common::{Bed, FOREVER, LABEL, RUN_AT_LOAD, refused};

/// Chapters 2, 3: 112 to look, 125 to act; `user/UID` is there [C HM#9628, sops-nix#966].
#[test]
fn without_a_screen_session_there_is_no_gui_domain() {
    let bed = Bed::with(|options| options.session = Session::Background);
    let (uid, gui) = (bed.uid(), bed.gui());
    assert_eq!(
        bed.launchctl(&["print", &gui]),
        refused(112, &format!("Bad request.\nCould not find domain for user gui: {uid}\n"))
    );
    let plist = bed.agent(LABEL, FOREVER, RUN_AT_LOAD);
    let unsupported = "failed: 125: Domain does not support specified action\n";
    assert_eq!(bed.bootstrap(&plist), refused(125, &format!("Bootstrap {unsupported}")));
    assert_eq!(
        bed.launchctl(&["bootout", &bed.target(LABEL)]),
        refused(125, &format!("Boot-out {unsupported}"))
    );
    assert_eq!(bed.launchctl(&["print", &format!("user/{uid}")]).code, Some(0));
    assert_eq!(bed.launchctl(&["managername"]).stdout, "Background\n");
}

/// Chapter 2: 113, 3 for bootout, with their texts [C].
#[test]
fn a_label_that_is_not_registered() {
    let bed = Bed::new();
    let uid = bed.uid();
    let not_found = format!("Bad request.\nCould not find service \"{LABEL}\" in domain for ");
    assert_eq!(bed.print(LABEL), refused(113, &format!("{not_found}user gui: {uid}\n")));
    assert_eq!(
        bed.launchctl(&["print", &format!("user/{uid}/{LABEL}")]),
        refused(113, &format!("{not_found}uid: {uid}\n"))
    );
    assert_eq!(
        bed.launchctl(&["bootout", &bed.target(LABEL)]),
        refused(3, "Boot-out failed: 3: No such process\n")
    );
    assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]).code, Some(113));
    assert_eq!(bed.launchctl(&["managername"]).stdout, "Aqua\n");
}

/// Chapter 3: measured on 26.6 for gui and user, with Aqua, Background and neither [L idx
/// 68439692847].
#[test]
fn the_session_type_decides_where_a_job_loads() {
    let bed = Bed::new();
    let check = |keys: &str, domain: &str, code: i32| {
        let plist = bed.agent(LABEL, FOREVER, keys);
        let target = format!("{domain}/{}", bed.uid());
        let said = bed.launchctl(&["bootstrap", &target, plist.to_str().unwrap()]);
        assert_eq!(said.code, Some(code), "{domain} {keys}");
        bed.launchctl(&["bootout", &format!("{target}/{LABEL}")]);
    };
    let aqua = "<key>LimitLoadToSessionType</key><string>Aqua</string>";
    let background = "<key>LimitLoadToSessionType</key><string>Background</string>";
    for (keys, gui, user) in [("", 0, 5), (aqua, 0, 5), (background, 5, 0)] {
        check(keys, "gui", gui);
        check(keys, "user", user);
    }
}

/// Chapter 3: "Label uniqueness is per domain" [C crc#5374].
#[test]
fn the_same_label_may_be_loaded_in_both_domains() {
    let bed = Bed::new();
    let both = "<key>LimitLoadToSessionType</key>\
                <array><string>Aqua</string><string>Background</string></array>";
    let plist = bed.agent(LABEL, FOREVER, both);
    let user = format!("user/{}", bed.uid());
    assert_eq!(bed.bootstrap(&plist).code, Some(0));
    let said = bed.launchctl(&["bootstrap", &user, plist.to_str().unwrap()]);
    assert_eq!(said.code, Some(0));
    assert_eq!(bed.launchctl(&["bootout", &bed.target(LABEL)]).code, Some(0));
    assert_eq!(bed.print(LABEL).code, Some(113));
    assert_eq!(bed.launchctl(&["print", &format!("{user}/{LABEL}")]).code, Some(0));
}

/// Chapter 2: "Could not print domain: 1: ..." [C].
#[test]
fn another_users_domain_is_closed() {
    let bed = Bed::new();
    let said = bed.launchctl(&["print", "gui/77777"]);
    assert_eq!(said, refused(1, "Could not print domain: 1: Operation not permitted\n"));
    assert_eq!(bed.launchctl(&["bootout", "gui/77777/a"]).code, Some(1));
}
