//! A directory as tar.gz: the same files give the same bytes, whoever packs them and when. Reads files, writes a temporary one.

use flate2::{Compression, GzBuilder, write::GzEncoder};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Seek as _, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header};
use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum ArchiveError {
    #[error("{path}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("{0}: neither a file, nor a directory, nor a link within the plugin's directory; take it out")]
    Unsupported(PathBuf),
    #[error("writing the archive: {0}")]
    Write(#[from] io::Error),
}

/// The packed files; the file is gone when it is closed.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) file: File,
    pub(crate) bytes: u64,
    /// Of the compressed bytes, `sha256:…`.
    pub(crate) digest: String,
    pub(crate) count: usize,
}

pub(crate) fn pack(directory: &Path) -> Result<Archive, ArchiveError> {
    let output = Hashing { inner: BufWriter::new(tempfile::tempfile()?), hash: Sha256::new(), bytes: 0 };
    // 255 = unknown system; without it the header would tell the packer's.
    let mut tar = Builder::new(GzBuilder::new().mtime(0).operating_system(255).write(output, Compression::default()));
    let count = add_all(&mut tar, directory)?;
    let output = tar.into_inner().and_then(GzEncoder::finish)?;
    let digest = format!("sha256:{}", hex::encode(output.hash.finalize()));
    let mut file = output.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(Archive { file, bytes: output.bytes, digest, count })
}

/// Adds everything below `root`, by name.
fn add_all<W: Write>(tar: &mut Builder<W>, root: &Path) -> Result<usize, ArchiveError> {
    let mut pending = vec![PathBuf::new()];
    let mut files = 0;
    while let Some(inside) = pending.pop() {
        let path = root.join(&inside);
        let meta = fs::symlink_metadata(&path).map_err(|error| read_error(&path, error))?;
        if meta.is_dir() || inside.as_os_str().is_empty() {
            pending.extend(children(&path, &inside)?);
            add_directory(tar, &inside)?;
        } else if meta.is_file() {
            add_file(tar, &path, &inside)?;
            files += 1;
        } else {
            add_link(tar, &path, &inside, meta.is_symlink())?;
        }
    }
    Ok(files)
}

/// The directory's entries, last name first, for a stack.
fn children(path: &Path, inside: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let entries = fs::read_dir(path).map_err(|error| read_error(path, error))?;
    let mut names: Vec<_> = entries
        .map(|entry| entry.map(|entry| inside.join(entry.file_name())))
        .collect::<Result<_, _>>()
        .map_err(|error| read_error(path, error))?;
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

fn add_directory<W: Write>(tar: &mut Builder<W>, inside: &Path) -> Result<(), ArchiveError> {
    if inside.as_os_str().is_empty() {
        return Ok(());
    }
    Ok(tar.append_data(&mut header(EntryType::Directory, 0, 0o755), inside, io::empty())?)
}

fn add_file<W: Write>(tar: &mut Builder<W>, path: &Path, inside: &Path) -> Result<(), ArchiveError> {
    let file = File::open(path).map_err(|error| read_error(path, error))?;
    let meta = file.metadata().map_err(|error| read_error(path, error))?;
    let mode = if meta.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
    Ok(tar.append_data(&mut header(EntryType::Regular, meta.len(), mode), inside, file)?)
}

/// A link may point only to what is packed too.
fn add_link<W: Write>(tar: &mut Builder<W>, path: &Path, inside: &Path, link: bool) -> Result<(), ArchiveError> {
    let refused = || ArchiveError::Unsupported(path.to_owned());
    if !link {
        return Err(refused());
    }
    let to = fs::read_link(path).map_err(|error| read_error(path, error))?;
    if !stays_inside(inside, &to) {
        return Err(refused());
    }
    Ok(tar.append_link(&mut header(EntryType::Symlink, 0, 0o777), inside, to)?)
}

fn stays_inside(link: &Path, to: &Path) -> bool {
    use std::path::Component;
    let mut depth = link.components().count() - 1;
    to.components().all(|part| match part {
        Component::Normal(_) => {
            depth += 1;
            true
        }
        Component::CurDir => true,
        Component::ParentDir if depth > 0 => {
            depth -= 1;
            true
        }
        _ => false,
    })
}

fn header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn read_error(path: &Path, error: io::Error) -> ArchiveError {
    ArchiveError::Read { path: path.to_owned(), error }
}

/// Counts and hashes what passes.
#[derive(Debug)]
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.hash.update(&buf[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn sample(dir: &Path) {
        fs::create_dir_all(dir.join("lib/deep")).unwrap();
        fs::write(dir.join("lib/deep/b"), "b").unwrap();
        fs::write(dir.join("lib/a"), "a").unwrap();
        fs::write(dir.join("program"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(dir.join("program"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("../a", dir.join("lib/deep/link")).unwrap();
    }

    fn entries(archive: &Archive) -> Vec<(String, u32, u64)> {
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&archive.file));
        let entries = tar.entries().unwrap().map(|entry| entry.unwrap());
        entries
            .map(|e| (e.path().unwrap().display().to_string(), e.header().mode().unwrap(), e.header().mtime().unwrap()))
            .collect()
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sample(one.path());
        sample(two.path());
        let past = std::time::SystemTime::UNIX_EPOCH;
        File::open(two.path().join("lib/a")).unwrap().set_modified(past).unwrap();
        assert_eq!(pack(one.path()).unwrap().digest, pack(two.path()).unwrap().digest);
    }

    #[test]
    fn entries_are_sorted_and_tell_nothing_of_the_packer() {
        let dir = tempfile::tempdir().unwrap();
        sample(dir.path());
        let archive = pack(dir.path()).unwrap();
        let expected = [
            ("lib", 0o755),
            ("lib/a", 0o644),
            ("lib/deep", 0o755),
            ("lib/deep/b", 0o644),
            ("lib/deep/link", 0o777),
            ("program", 0o755),
        ];
        let expected: Vec<_> = expected.iter().map(|(path, mode)| ((*path).to_owned(), *mode, 0)).collect();
        assert_eq!(entries(&archive), expected);
        assert_eq!(archive.count, 3);
    }

    #[test]
    fn a_link_out_of_the_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        symlink("../../etc/passwd", dir.path().join("link")).unwrap();
        assert!(pack(dir.path()).unwrap_err().to_string().contains("link"));
    }

    #[test]
    fn an_absent_directory_is_named() {
        let error = pack(Path::new("/nonexistent/plugin")).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/plugin"));
    }
}
