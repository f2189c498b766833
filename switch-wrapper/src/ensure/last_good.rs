//! The last agent that worked, to go back to when a new one does not run: its definition, and its executable.
//!
//! A definition that names a stable path stays the same when the executable behind that path changes. So what is put
//! back is the definition that worked, with the executable that worked written into it where the path leads elsewhere
//! by now. The executable is kept from being collected as garbage.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Cursor, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use nixfleet_protocol::{
    digest,
    journal::{
        atomic::{self, WriteError},
        read,
        records::{FORMAT, LastGoodAgent, RestoredDefinition, RunningProgram},
    },
    state_dir::StateDir,
};

use crate::gc_root;

/// What launchd takes: readable by all, writable by the owner (launchd.plist(5)).
const PLIST_MODE: u32 = 0o644;

/// How long the garbage collector's root may take; it is not worth a host that is dark.
const ROOT_LIMIT: Duration = Duration::from_secs(5);

/// The copy, and where it came from.
#[derive(Debug)]
pub(super) struct LastGood {
    definition: PathBuf,
    record: PathBuf,
    root: PathBuf,
    restored: PathBuf,
}

impl LastGood {
    /// What is in the state directory; it need not be there.
    pub(super) fn new(directory: &StateDir) -> Self {
        Self {
            definition: directory.last_good_definition(),
            record: directory.last_good_agent(),
            root: directory.last_good_root(),
            restored: directory.restored_definition(),
        }
    }

    /// The copy of the definition, which launchd can load as it is.
    pub(super) fn definition(&self) -> &Path {
        &self.definition
    }

    /// Whether anything is kept.
    pub(super) fn is_there(&self) -> bool {
        self.definition.exists()
    }

    /// Whether there is something to go back to, and it is another than what is on disk.
    pub(super) fn has_other_than(&self, plist: &Path) -> bool {
        self.content().is_ok_and(|content| fs::read(plist).ok().as_ref() != Some(&content))
    }

    /// Keeps what is on disk, and the program that runs with it, as the last that worked.
    pub(super) fn keep(&self, plist: &Path, program: &RunningProgram) -> Result<(), WriteError> {
        let Ok(content) = fs::read(plist) else { return Ok(()) };
        if fs::read(&self.definition).ok().as_ref() != Some(&content) {
            let kind = "copy of the agent's definition";
            atomic::replace_content(&self.definition, kind, &content)?;
        }
        let known = read::read::<LastGoodAgent>(&self.record).present();
        let is_known = known.is_some_and(|known| {
            known.exe == program.exe && known.definition_digest == program.definition_digest
        });
        if is_known {
            return Ok(());
        }
        // Without the root the executable may be gone one day; then the definition alone goes back.
        let _ = gc_root::keep(&self.root, &program.exe, ROOT_LIMIT);
        atomic::replace(
            &self.record,
            &LastGoodAgent {
                format: FORMAT,
                exe: program.exe.clone(),
                invoked_as: program.invoked_as.clone(),
                definition_digest: program.definition_digest.clone(),
                version: program.version.clone(),
                seen_at: Timestamp::now(),
            },
        )
    }

    /// Writes down what [`Self::restore_to`] is about to put there: what is known to be ours can give way to
    /// home-manager's own later. Before it is there, for afterwards somebody may have died. `original` is the digest of
    /// home-manager's own, where that is what is there now.
    pub(super) fn note_restoring(
        &self,
        plist: &Path,
        original: Option<String>,
    ) -> Result<(), WriteError> {
        // What cannot be read cannot be put back either; that is said there.
        let Ok(content) = self.content() else { return Ok(()) };
        atomic::replace(
            &self.restored,
            &RestoredDefinition {
                format: FORMAT,
                path: plist.to_owned(),
                digest: digest::of(&content),
                original_digest: original,
                written_at: Timestamp::now(),
            },
        )
    }

    /// Puts what worked in the place of the file on disk.
    pub(super) fn restore_to(&self, plist: &Path) -> io::Result<()> {
        put_in_place(plist, &self.content()?)
    }

    /// What goes back.
    fn content(&self) -> io::Result<Vec<u8>> {
        let content = fs::read(&self.definition)?;
        let worked = read::read::<LastGoodAgent>(&self.record).present();
        let pinned = worked.and_then(|worked| pinned(&content, &worked));
        Ok(pinned.unwrap_or(content))
    }
}

/// The definition with the executable that worked instead of the path that leads elsewhere by now. Nothing if the path
/// still leads there, or if the executable is gone.
fn pinned(content: &[u8], worked: &LastGoodAgent) -> Option<Vec<u8>> {
    let path = worked.invoked_as.as_ref()?;
    if path.canonicalize().ok().as_ref() == Some(&worked.exe) || !worked.exe.is_file() {
        return None;
    }
    let (path, exe) = (path.to_str()?, worked.exe.to_str().filter(|exe| is_plain(exe))?);
    let mut plist = plist::Value::from_reader(Cursor::new(content)).ok()?;
    let dictionary = plist.as_dictionary_mut()?;
    let mut is_pinned = false;
    if let Some(plist::Value::String(program)) = dictionary.get_mut("Program") {
        is_pinned |= replace_path(program, path, exe);
    }
    for argument in dictionary.get_mut("ProgramArguments")?.as_array_mut()? {
        if let plist::Value::String(argument) = argument {
            is_pinned |= replace_path(argument, path, exe);
        }
    }
    let mut text = Vec::new();
    plist.to_writer_xml(&mut text).ok()?;
    is_pinned.then_some(text)
}

/// Replaces the path where it stands as a word of its own: alone, or in a shell's command.
fn replace_path(text: &mut String, path: &str, exe: &str) -> bool {
    let words: Vec<&str> =
        text.split(' ').map(|word| if word == path { exe } else { word }).collect();
    let replaced = words.join(" ");
    let is_other = replaced != *text;
    *text = replaced;
    is_other
}

/// Nothing in it means anything to a shell: the path may stand in a shell's command.
fn is_plain(path: &str) -> bool {
    path.chars().all(|c| c.is_ascii_alphanumeric() || "/._+-=".contains(c))
}

/// Writes a definition where launchd reads it, whole or not at all. The name in between does not end in `.plist`:
/// launchd loads all that do at login.
pub(crate) fn put_in_place(plist: &Path, content: &[u8]) -> io::Result<()> {
    let name = plist.file_name().unwrap_or_default().to_string_lossy();
    let next = plist.with_file_name(format!(".{name}.next"));
    // What is left of an earlier try, whoever made it, and whatever it is: a link would have us write somewhere else.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(PLIST_MODE).open(&next)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(PLIST_MODE))?;
    file.sync_all()?;
    fs::rename(&next, plist)?;
    atomic::sync_directory_of(plist)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nixfleet_protocol::process::ProcessIdentity;

    use super::*;

    struct Scene {
        folder: tempfile::TempDir,
        last_good: LastGood,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let directory = StateDir::prepare(&folder.path().join("state")).unwrap();
            for name in ["old-agent", "new-agent"] {
                fs::write(folder.path().join(name), name).unwrap();
            }
            Self { last_good: LastGood::new(&directory), folder }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().canonicalize().unwrap().join(name)
        }

        fn program(&self) -> RunningProgram {
            RunningProgram {
                format: FORMAT,
                process: ProcessIdentity { pid: 1, start: String::new() },
                started_at: Timestamp::UNIX_EPOCH,
                version: "1".to_owned(),
                exe: self.path("old-agent"),
                invoked_as: Some(self.path("agent")),
                config_path: None,
                config_digest: None,
                definition_path: None,
                definition_digest: None,
                last_heartbeat_at: None,
                dashboard: None,
            }
        }

        fn plist(arguments: &[&str]) -> String {
            let arguments = arguments.join("</string><string>");
            format!(
                "<plist version=\"1.0\"><dict><key>Label</key><string>x</string>\
                 <key>ProgramArguments</key><array><string>{arguments}</string></array></dict></plist>"
            )
        }
    }

    #[test]
    fn the_definition_that_worked_is_kept_and_comes_back() {
        let scene = Scene::new();
        let plist = scene.path("agent.plist");
        assert!(!scene.last_good.has_other_than(&plist));
        assert!(scene.last_good.restore_to(&plist).is_err());
        fs::write(&plist, "one").unwrap();
        scene.last_good.keep(&plist, &scene.program()).unwrap();
        assert!(!scene.last_good.has_other_than(&plist));
        fs::write(&plist, "two").unwrap();
        // As home-manager installs it.
        fs::set_permissions(&plist, Permissions::from_mode(0o444)).unwrap();
        assert!(scene.last_good.has_other_than(&plist));
        scene.last_good.restore_to(&plist).unwrap();
        assert_eq!(fs::read_to_string(&plist).unwrap(), "one");
        assert_eq!(fs::metadata(&plist).unwrap().permissions().mode() & 0o777, PLIST_MODE);
        assert!(!scene.path(".agent.plist.next").exists());
    }

    #[test]
    fn what_an_earlier_try_has_left_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (plist, other) = (folder.path().join("a.plist"), folder.path().join("other"));
        fs::write(&other, "other").unwrap();
        symlink(&other, folder.path().join(".a.plist.next")).unwrap();
        put_in_place(&plist, b"new").unwrap();
        assert_eq!(fs::read_to_string(&plist).unwrap(), "new");
        assert!(!fs::symlink_metadata(&plist).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&other).unwrap(), "other");
    }

    #[test]
    fn behind_the_same_definition_the_executable_that_worked_comes_back() {
        let scene = Scene::new();
        let (plist, agent) = (scene.path("agent.plist"), scene.path("agent"));
        symlink(scene.path("old-agent"), &agent).unwrap();
        let shell = format!("/bin/wait4path /nix/store && exec {} run", agent.display());
        fs::write(&plist, Scene::plist(&["/bin/sh", "-c", &shell.replace('&', "&amp;")])).unwrap();
        scene.last_good.keep(&plist, &scene.program()).unwrap();
        assert!(!scene.last_good.has_other_than(&plist));

        fs::remove_file(&agent).unwrap();
        symlink(scene.path("new-agent"), &agent).unwrap();
        assert!(scene.last_good.has_other_than(&plist));
        scene.last_good.restore_to(&plist).unwrap();
        let restored = plist::Value::from_file(&plist).unwrap();
        let arguments = &restored.as_dictionary().unwrap()["ProgramArguments"];
        let expected =
            shell.replace(&*agent.to_string_lossy(), &scene.path("old-agent").to_string_lossy());
        assert_eq!(arguments.as_array().unwrap()[2].as_string(), Some(expected.as_str()));

        // One that is gone is no better than the new one.
        fs::remove_file(scene.path("old-agent")).unwrap();
        fs::write(&plist, Scene::plist(&["other"])).unwrap();
        scene.last_good.restore_to(&plist).unwrap();
        assert!(fs::read_to_string(&plist).unwrap().contains("agent run"));
    }

    #[test]
    fn only_whole_words_are_replaced() {
        let mut text = "exec /a/agent run /a/agent-x".to_owned();
        assert!(replace_path(&mut text, "/a/agent", "/b"));
        assert_eq!(text, "exec /b run /a/agent-x");
        assert!(!replace_path(&mut text, "/a/agent", "/b"));
        assert!(is_plain("/nix/store/0-x_1.2+3/bin/a") && !is_plain("/a b") && !is_plain("/a;b"));
    }
}
