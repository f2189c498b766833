//! What the environment says, read once at start.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The environment as it was at start. A variable that is empty counts as not set.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values may be secrets.
        write!(formatter, "Environment({} variables)", self.variables.len())
    }
}

impl Environment {
    /// Reads it from the process.
    pub(crate) fn of_process() -> Self {
        Self { variables: env::vars_os().collect() }
    }

    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        let variables = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables }
    }

    /// A variable as text; what is not Unicode becomes visible as such and fails its check.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.raw(name).map(|value| value.to_string_lossy().into_owned())
    }

    /// A variable as a path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(PathBuf::from)
    }

    /// The home directory, where the environment has it.
    pub(crate) fn home(&self) -> Option<&Path> {
        self.raw("HOME").map(Path::new).filter(|path| path.is_absolute())
    }

    fn raw(&self, name: &str) -> Option<&OsString> {
        self.variables.get(&OsString::from(name)).filter(|value| !value.is_empty())
    }
}
