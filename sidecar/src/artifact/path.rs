//! Artifacts that lie on disk: a directory, or a binary with its manifest beside it. They are copied, so that replacing
//! the files changes nothing that runs, and leaves something to go back to. Does I/O, blocking.

use super::{Artifact, ArtifactError, MANIFESTS, draft::Draft};
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

pub(super) fn fetch(store: &Path, given: &str) -> Result<Artifact, ArtifactError> {
    let path = Path::new(given);
    let metadata = fs::metadata(path).map_err(|cause| missing(given, cause))?;
    let (root, files) = match metadata.is_dir() {
        true => (path.to_owned(), tree(path).map_err(|cause| missing(given, cause))?),
        false => beside(path),
    };
    let id = fingerprint(&root, &files).map_err(|cause| missing(given, cause))?;
    let directory = store.join(&id);
    if !directory.is_dir() {
        copy(store, &root, &files, &directory)?;
    }
    let program = (!metadata.is_dir()).then(|| directory.join(path.file_name().unwrap_or_default()));
    Ok(Artifact { id, directory, program })
}

fn missing(given: &str, cause: io::Error) -> ArtifactError {
    match cause.kind() {
        io::ErrorKind::NotFound => ArtifactError::NotFound(given.to_owned()),
        _ => ArtifactError::Unreadable { path: given.to_owned(), cause },
    }
}

/// A binary and the manifest beside it.
fn beside(binary: &Path) -> (PathBuf, Vec<PathBuf>) {
    let root = binary.parent().unwrap_or(Path::new("/")).to_owned();
    let manifests = MANIFESTS.iter().map(|(name, _)| PathBuf::from(name)).filter(|m| root.join(m).is_file());
    let files = binary.file_name().map(PathBuf::from).into_iter().chain(manifests).collect();
    (root, files)
}

/// All files below a directory, relative to it, sorted. Links to files count as files.
fn tree(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let relative = directory.join(entry?.file_name());
            let kind = fs::symlink_metadata(root.join(&relative))?;
            if kind.is_dir() {
                open.push(relative);
            } else if root.join(&relative).is_file() {
                files.push(relative);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Names the content by what the file system says of it. Reading all of it would cost more than the copy.
fn fingerprint(root: &Path, files: &[PathBuf]) -> io::Result<String> {
    let mut hash = Sha256::new();
    for file in files {
        let m = fs::metadata(root.join(file))?;
        let line = format!("{file:?} {} {} {} {} {:o}\n", m.len(), m.mtime(), m.mtime_nsec(), m.ino(), m.mode());
        hash.update(line);
    }
    Ok(format!("path-{}", &hex::encode(hash.finalize())[..24]))
}

/// Into a directory beside, then renamed: nobody sees half a copy.
fn copy(store: &Path, root: &Path, files: &[PathBuf], target: &Path) -> Result<(), ArtifactError> {
    let draft = Draft::new(store)?;
    for file in files {
        let to = draft.path().join(file);
        let parent = to.parent().unwrap_or(draft.path());
        fs::create_dir_all(parent).map_err(ArtifactError::Store)?;
        fs::copy(root.join(file), &to).map_err(|cause| refused(root.join(file), cause))?;
    }
    draft.publish(target)
}

fn refused(file: PathBuf, cause: io::Error) -> ArtifactError {
    match cause.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => {
            ArtifactError::Unreadable { path: file.display().to_string(), cause }
        }
        _ => ArtifactError::Store(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_is_copied_and_the_copy_stays() {
        let (source, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(&source.path().join("p"), "one", 0o755);
        write(&source.path().join("sub/x"), "x", 0o644);
        let given = source.path().display().to_string();
        let first = fetch(store.path(), &given).unwrap();
        assert_eq!(fetch(store.path(), &given).unwrap(), first);
        write(&source.path().join("p"), "second", 0o755);
        let second = fetch(store.path(), &given).unwrap();
        assert_ne!(first.id, second.id);
        assert_eq!(fs::read_to_string(first.directory.join("p")).unwrap(), "one");
        assert_eq!(fs::read_to_string(second.directory.join("sub/x")).unwrap(), "x");
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_binary_comes_with_its_manifest_only() {
        let (source, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, text) in [("p", "program"), ("plugin.yaml", "name: p"), ("other", "")] {
            write(&source.path().join(name), text, 0o755);
        }
        let artifact = fetch(store.path(), &source.path().join("p").display().to_string()).unwrap();
        assert_eq!(artifact.program, Some(artifact.directory.join("p")));
        assert!(artifact.directory.join("plugin.yaml").is_file() && !artifact.directory.join("other").exists());
    }

    #[test]
    fn what_is_absent_is_named_as_given() {
        let store = tempfile::tempdir().unwrap();
        let error = fetch(store.path(), "./plugins/auth-plugin").unwrap_err();
        assert_eq!(error.to_string(), "plugin file not found: ./plugins/auth-plugin");
    }
}
