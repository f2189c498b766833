//! A `nixfleet-switch` for tests: a shell script that writes the journal's files as the real one does.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Says what it was called with and with which environment, then runs `switch`, which sees `$dir` and `$id`.
const SCRIPT: &str = r#"#!/bin/sh
state=$NIXFLEET_STATE_DIR
echo "$*" >> "$state/wrapper-calls"
env > "$state/wrapper-environment"
now() { date -u +%Y-%m-%dT%H:%M:%SZ; }
put() { cat > "$1.tmp" && mv "$1.tmp" "$1"; }
result() { # outcome, exit code
    put "$dir/result.json" <<END
{"format":1,"id":"$id","outcome":"$1","exit_code":$2,"signal":null,"started_at":"$(now)","finished_at":"$(now)",
"duration_ms":1200,"argv":[],"initiator":"agent","generation_before":null,"generation_after":null,"activation":"complete",
"output_bytes":$(cat "$dir/output.log" 2>/dev/null | wc -c),"output_tail":"the end","wrapper_version":"fake","host":"host"}
END
}
reload() { # verdict
    put "$dir/reload.json" <<END
{"format":1,"switch":"$id","verdict":"$1","explanation":"by the fake","began_at":"$(now)","duration_ms":5,"agent_pid":null,"steps":[]}
END
}
agent() { sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$state/agent.json"; }
case "$1 $2" in
    "run "*) id=$2; dir=$state/switches/$id ;;
    "ensure-agent --switch") id=$3; dir=$state/switches/$id; reload back; exit 0 ;;
    "ensure-agent --cause" | "ensure-watchdog --cause")
        echo "$1 was here" >&2
        if [ -x "$HOME/heal" ]; then state=$state agent=$(agent) "$HOME/heal" "$@"; fi
        exit ;;
esac
"#;

/// A switch that works.
pub(crate) const SUCCEEDS: &str =
    "echo 'building' > $dir/output.log; result succeeded 0; reload healthy";

/// A switch that fails.
pub(crate) const FAILS: &str =
    "echo 'error: no such option' > $dir/output.log; result failed 1; reload healthy; exit 1";

/// Writes the script.
pub(crate) fn write(folder: &Path, switch: &str) -> PathBuf {
    let path = folder.join("nixfleet-switch");
    fs::write(&path, format!("{SCRIPT}{switch}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Has this done by every `ensure-agent` and `ensure-watchdog` without a switch. It sees `$state`, and in `$agent` the pid
/// of the agent.
pub(crate) fn heal_by(home: &Path, script: &str) {
    let path = home.join("heal");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}
