//! The git revision of a checkout, read from git's files (gitrepository-layout(5)): no git is started.

use std::path::{Path, PathBuf};

use super::remembered::Reading;

/// A ref may name another one; git itself follows five.
const MAX_REFS: usize = 5;

/// What `git rev-parse HEAD` says in this folder. Nothing where there is no checkout or no commit, and where the refs are
/// not in files (`reftable`).
pub(super) fn head(reading: &mut Reading, folder: &Path) -> Option<String> {
    let (git, mut said) = folder.ancestors().find_map(|folder| git_folder(reading, folder))?;
    let common = match reading.text(&git.join("commondir")) {
        Some(path) => git.join(path.trim()),
        None => git,
    };
    for _ in 0..MAX_REFS {
        let Some(name) = said.trim().strip_prefix("ref:") else {
            return Some(said.trim().to_owned()).filter(|revision| is_revision(revision));
        };
        let name = Some(name.trim()).filter(|name| is_ref(name))?.to_owned();
        said = reading.text(&common.join(&name)).or_else(|| packed(reading, &common, &name))?;
    }
    None
}

/// The folder that git keeps a checkout in, and what HEAD says in it. In a worktree and a submodule, `.git` is a file that
/// names it.
fn git_folder(reading: &mut Reading, folder: &Path) -> Option<(PathBuf, String)> {
    let git = folder.join(".git");
    if let Some(head) = reading.text(&git.join("HEAD")) {
        return Some((git, head));
    }
    let named = reading.text(&git)?;
    let elsewhere = folder.join(named.trim().strip_prefix("gitdir:")?.trim());
    let head = reading.text(&elsewhere.join("HEAD"))?;
    Some((elsewhere, head))
}

fn packed(reading: &mut Reading, common: &Path, name: &str) -> Option<String> {
    reading.line(&common.join("packed-refs"), |line| {
        let (revision, packed) = line.split_once(' ')?;
        (packed == name).then(|| revision.to_owned())
    })
}

/// Not a path that leads elsewhere.
fn is_ref(name: &str) -> bool {
    name.starts_with("refs/") && !name.split('/').any(|part| matches!(part, "" | "." | ".."))
}

/// SHA-1 or SHA-256.
fn is_revision(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    /// Files with their texts, and what the checkout `work` is at.
    #[track_caller]
    fn check(files: &[(&str, &str)], expected: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = head(&mut Reading::default(), &folder.path().join("work"));
        assert_eq!(found.as_deref(), expected, "{files:?}");
    }

    #[test]
    fn head_is_followed_as_git_does() {
        let main = ("work/.git/HEAD", "ref: refs/heads/main\n");
        let loose = format!("{ONE}\n");
        let packed = format!(
            "# pack-refs with: peeled\n{TWO} refs/heads/main2\n{ONE} refs/heads/main\n^{TWO}\n"
        );
        check(&[("work/.git/HEAD", &loose)], Some(ONE));
        check(&[main, ("work/.git/refs/heads/main", &loose)], Some(ONE));
        check(&[main, ("work/.git/packed-refs", &packed)], Some(ONE));
        let newer = format!("{TWO}\n");
        check(
            &[main, ("work/.git/packed-refs", &packed), ("work/.git/refs/heads/main", &newer)],
            Some(TWO),
        );
        check(
            &[
                main,
                ("work/.git/refs/heads/main", "ref: refs/heads/other\n"),
                ("work/.git/refs/heads/other", &loose),
            ],
            Some(ONE),
        );
        // The folder of the flake may be below the checkout's.
        check(&[(".git/HEAD", &loose), ("work/file", "")], Some(ONE));
    }

    #[test]
    fn a_worktree_has_its_own_head_and_the_refs_of_all() {
        let loose = format!("{ONE}\n");
        check(
            &[
                ("work/.git", "gitdir: ../main/.git/worktrees/work\n"),
                ("main/.git/worktrees/work/HEAD", "ref: refs/heads/topic\n"),
                ("main/.git/worktrees/work/commondir", "../..\n"),
                ("main/.git/refs/heads/topic", &loose),
            ],
            Some(ONE),
        );
    }

    #[test]
    fn what_makes_no_sense_is_no_revision() {
        let main = ("work/.git/HEAD", "ref: refs/heads/main\n");
        for files in [
            &[("work/file", "")][..],
            &[main],
            &[("work/.git/HEAD", "ref: refs/heads/.invalid\n")],
            &[("work/.git/HEAD", "ref: refs/../../secret"), ("work/secret", ONE)],
            &[("work/.git/HEAD", "ref: /etc/passwd")],
            &[("work/.git/HEAD", "1111")],
            &[main, ("work/.git/refs/heads/main", "ref: refs/heads/main")],
            &[("work/.git", "gitdir: nowhere")],
        ] {
            check(files, None);
        }
    }

    #[test]
    fn git_agrees() {
        let folder = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let output = std::process::Command::new("git")
                .current_dir(folder.path())
                .args(["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"])
                .args(arguments)
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .output();
            // Where there is no git there is nobody to agree.
            output.ok().map(|output| String::from_utf8(output.stdout).unwrap().trim().to_owned())
        };
        let Some(_) = git(&["init", "-q"]) else { return };
        git(&["commit", "-q", "--allow-empty", "-m", "one"]);
        let read = |path: &Path| head(&mut Reading::default(), path);
        let said = || git(&["rev-parse", "HEAD"]);
        assert_eq!(read(folder.path()), said());
        git(&["pack-refs", "--all"]);
        assert_eq!(read(folder.path()), said());
        git(&["worktree", "add", "-q", "-b", "topic", "tree"]);
        assert_eq!(read(&folder.path().join("tree")), said());
        git(&["checkout", "-q", "--detach"]);
        assert_eq!(read(folder.path()), said());
    }
}
