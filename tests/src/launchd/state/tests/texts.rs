//! S12: the texts of `print` and its like (chapter 3).

use super::*;

#[test]
fn print_has_the_fields_at_one_tab_and_decoys_below() {
    let mut world = World::new(15);
    world.bootstrap("<key>ThrottleInterval</key><integer>3</integer><key>RunAtLoad</key><true/>");
    let target = ServiceTarget { domain: Domain::Gui(UID), label: LABEL.to_owned() };
    let text = print::service(world.launchd.job(&target).unwrap());
    let one_tab = |name: &str| {
        let prefix = format!("\t{name} = ");
        let values: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix(prefix.as_str())).collect();
        assert_eq!(values.len(), 1, "{name} in {text}");
        values[0].to_owned()
    };
    assert_eq!(one_tab("state"), "running");
    assert_eq!(one_tab("pid"), "100");
    assert_eq!(one_tab("path"), "/job.plist");
    assert_eq!(one_tab("program"), "/bin/job");
    assert_eq!(one_tab("runs"), "1");
    assert_eq!(one_tab("exit timeout"), "5");
    assert_eq!(one_tab("minimum runtime"), "3");
    assert_eq!(one_tab("last exit code"), "(never exited)");
    assert_eq!(one_tab("properties"), "runatload");
    assert!(text.contains("\n\t\tstate = active\n") && text.contains("\n\t\tpid = "));
    assert!(text.starts_with("gui/501/com.example.job = {\n\tactive count = 1\n"));
    assert!(text.ends_with("\n}\n"));
}
