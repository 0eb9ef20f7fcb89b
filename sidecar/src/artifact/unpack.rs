//! Tar archives into a directory, and nowhere else: what leads out of it, or is neither file nor directory nor link, is
//! refused. Does I/O, blocking.

use super::{
    ArtifactError, MANIFESTS,
    transfer::{self, largest, largest_named},
};
use crate::removal;
use flate2::read::MultiGzDecoder;
use rockstar_core::text::bounded;
use std::{
    cell::Cell,
    fs::{self, File},
    io::{self, BufReader, Read, Seek, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::{Component, Path, PathBuf},
    rc::Rc,
};
use tar::{Archive, Entry, EntryType};

/// Where an image may hold a plugin, beside its root.
const PLACE: &str = "plugin";
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
const MOST: u64 = 100_000;
const BUFFER: usize = 64 << 10;

/// Of all that an archive says of one entry: its headers, long names, attributes.
const MAX_HEADERS: u64 = 1 << 20;
/// A path within the plugin's files, and each name in it, in bytes.
const MAX_PATH: usize = 1024;
const MAX_NAME: usize = 255;
/// What errors show of a path.
const MAX_SHOWN: usize = 256;

type Packed<'a> = Archive<Rationed<io::Take<Box<dyn Read + 'a>>>>;

/// A reader that gives no more than its ration: what precedes an entry is read into memory as a whole.
struct Rationed<R> {
    reader: R,
    ration: Rc<Cell<u64>>,
}

impl<R: Read> Read for Rationed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ration = self.ration.get();
        if ration == 0 && !buffer.is_empty() {
            return Err(io::Error::other(format!("the headers of an entry have more than {MAX_HEADERS} bytes")));
        }
        let most = usize::try_from(ration).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.reader.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.ration.set(ration - read as u64);
        Ok(read)
    }
}

/// Archives with a plugin's directory.
pub(super) fn files(what: &str, archives: &[File], to: &Path) -> Result<(), ArtifactError> {
    Unpacking::new(what, to).all(archives)
}

/// The layers of an image, lowest first; the plugin is at its root or in `/plugin`.
pub(super) fn image(what: &str, layers: &[File], to: &Path) -> Result<(), ArtifactError> {
    let root = root(what, layers)?;
    Unpacking { root, layered: true, ..Unpacking::new(what, to) }.all(layers)
}

/// Where in the image the manifest is. An image that has none is said to be without when it is read.
fn root(what: &str, layers: &[File]) -> Result<PathBuf, ArtifactError> {
    let mut scan = Unpacking::new(what, Path::new(""));
    let mut below = false;
    for layer in layers {
        let mut at_root = false;
        scan.each(layer, |scan, entry| {
            let path = scan.normal(&entry.path().map_err(|cause| scan.broken(cause))?)?;
            at_root |= is_manifest(&path);
            below |= path.strip_prefix(PLACE).is_ok_and(is_manifest);
            Ok(())
        })?;
        if at_root {
            return Ok(PathBuf::new());
        }
    }
    Ok(if below { PLACE.into() } else { PathBuf::new() })
}

fn is_manifest(path: &Path) -> bool {
    MANIFESTS.iter().any(|(name, _)| path == Path::new(name))
}

fn open(mut file: &File, room: u64, ration: Rc<Cell<u64>>) -> io::Result<Packed<'_>> {
    let packed = transfer::magic(file)?.starts_with(&[0x1f, 0x8b]);
    file.rewind()?;
    let reader = BufReader::with_capacity(BUFFER, file);
    let reader: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) };
    // Headers and padding are not in the entries' sizes, but are no more than these.
    Ok(Archive::new(Rationed { reader: reader.take(room.saturating_mul(2).max(1 << 20)), ration }))
}

struct Unpacking<'a> {
    /// For messages.
    what: &'a str,
    to: &'a Path,
    /// Only what is below is taken.
    root: PathBuf,
    /// Whether archives take away what lower ones brought.
    layered: bool,
    /// What there is still room for.
    bytes: u64,
    entries: u64,
    links: Vec<PathBuf>,
}

impl<'a> Unpacking<'a> {
    fn new(what: &'a str, to: &'a Path) -> Self {
        Self { what, to, root: PathBuf::new(), layered: false, bytes: largest(), entries: MOST, links: Vec::new() }
    }

    fn all(mut self, archives: &[File]) -> Result<(), ArtifactError> {
        for file in archives {
            self.each(file, |this, entry| {
                let path = this.normal(&entry.path().map_err(|cause| this.broken(cause))?)?;
                match this.inside(&path) {
                    Some(inside) => this.place(entry, &inside),
                    None => Ok(()),
                }
            })?;
        }
        self.links_stay()
    }

    /// Goes through the entries of an archive; what comes before one is bounded, and so is their sum.
    fn each(
        &mut self,
        file: &File,
        mut with: impl FnMut(&mut Self, &mut Entry<'_, Rationed<io::Take<Box<dyn Read + '_>>>>) -> Result<(), ArtifactError>,
    ) -> Result<(), ArtifactError> {
        let ration = Rc::new(Cell::new(MAX_HEADERS));
        let mut archive = open(file, self.bytes, Rc::clone(&ration)).map_err(|cause| self.broken(cause))?;
        let mut entries = archive.entries().map_err(|cause| self.broken(cause))?;
        loop {
            ration.set(MAX_HEADERS);
            let Some(entry) = entries.next() else { return Ok(()) };
            let mut entry = entry.map_err(|cause| self.broken(cause))?;
            ration.set(u64::MAX);
            self.count(&entry)?;
            with(self, &mut entry)?;
            // The next step would skip it with the ration for headers.
            io::copy(&mut entry, &mut io::sink()).map_err(|cause| self.broken(cause))?;
        }
    }

    fn count<R: Read>(&mut self, entry: &Entry<'_, R>) -> Result<(), ArtifactError> {
        let too_large = |limit| ArtifactError::TooLarge { what: self.what.to_owned(), limit };
        let unpacked = || too_large(format!("{} unpacked", largest_named()));
        let bytes = self.bytes.checked_sub(entry.size()).ok_or_else(unpacked)?;
        self.entries = self.entries.checked_sub(1).ok_or_else(|| too_large(format!("{MOST} entries")))?;
        self.bytes = bytes;
        Ok(())
    }

    /// A path without `.`; one with `..` or from `/` is refused.
    fn normal(&self, path: &Path) -> Result<PathBuf, ArtifactError> {
        let mut normal = PathBuf::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => normal.push(name),
                Component::CurDir => {}
                _ => return Err(self.refused(path, "leads out of the archive")),
            }
        }
        let is_long = |part: Component<'_>| part.as_os_str().len() > MAX_NAME;
        if normal.as_os_str().len() > MAX_PATH || normal.components().any(is_long) {
            return Err(self.refused(path, "is a name too long to be stored"));
        }
        if normal.as_os_str().as_bytes().contains(&0) {
            return Err(self.refused(path, "is a name that cannot be stored"));
        }
        Ok(normal)
    }

    /// Relative to the root, if below.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        let inside = path.strip_prefix(&self.root).ok()?;
        (!inside.as_os_str().is_empty()).then(|| inside.to_owned())
    }

    fn place<R: Read>(&mut self, entry: &mut Entry<'_, R>, inside: &Path) -> Result<(), ArtifactError> {
        self.parents(inside)?;
        if self.layered && self.whiteout(inside)? {
            return Ok(());
        }
        match entry.header().entry_type() {
            EntryType::Directory => self.directory(inside),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.file(entry, inside),
            EntryType::Symlink => self.symlink(entry, inside),
            EntryType::Link => self.hard_link(entry, inside),
            EntryType::XGlobalHeader => Ok(()),
            _ => Err(self.refused(inside, "is neither a file nor a directory nor a link")),
        }
    }

    /// Makes the directories above; none may be a link.
    fn parents(&self, inside: &Path) -> Result<(), ArtifactError> {
        let mut above = PathBuf::new();
        for part in inside.parent().unwrap_or(Path::new("")) {
            above.push(part);
            self.directory(&above)?;
        }
        Ok(())
    }

    fn directory(&self, inside: &Path) -> Result<(), ArtifactError> {
        let path = self.to.join(inside);
        match fs::symlink_metadata(&path) {
            Ok(there) if there.is_dir() => return Ok(()),
            Ok(_) => return Err(self.refused(inside, "is a directory and something else too")),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(ArtifactError::Store(cause)),
        }
        fs::create_dir(&path).map_err(ArtifactError::Store)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(ArtifactError::Store)
    }

    fn file<R: Read>(&self, entry: &mut Entry<'_, R>, inside: &Path) -> Result<(), ArtifactError> {
        let executable = entry.header().mode().map_err(|cause| self.broken(cause))? & 0o111 != 0;
        let path = self.to.join(inside);
        clear(&path).map_err(ArtifactError::Store)?;
        let mut file = File::create_new(&path).map_err(ArtifactError::Store)?;
        let size = entry.size();
        if self.copy(entry, &mut file)? != size {
            return Err(self.refused(inside, "is cut off"));
        }
        let mode = fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 });
        // The rename that follows must not outlive the bytes.
        file.set_permissions(mode).and_then(|()| file.sync_all()).map_err(ArtifactError::Store)
    }

    /// As `io::copy`, but tells a bad archive from a full disk.
    fn copy(&self, from: &mut impl Read, to: &mut File) -> Result<u64, ArtifactError> {
        let mut buffer = vec![0; BUFFER];
        let mut copied = 0;
        loop {
            let n = from.read(&mut buffer).map_err(|cause| self.broken(cause))?;
            let Some(read) = buffer.get(..n).filter(|read| !read.is_empty()) else { return Ok(copied) };
            to.write_all(read).map_err(ArtifactError::Store)?;
            copied += read.len() as u64;
        }
    }

    fn symlink<R: Read>(&mut self, entry: &Entry<'_, R>, inside: &Path) -> Result<(), ArtifactError> {
        let target = self.target(entry, inside)?;
        if target.is_absolute() {
            return Err(self.refused(inside, LEADS_OUT));
        }
        if target.as_os_str().len() > MAX_PATH || target.as_os_str().as_bytes().contains(&0) {
            return Err(self.refused(inside, "is a link to a name that cannot be stored"));
        }
        let path = self.to.join(inside);
        clear(&path).and_then(|()| symlink(&target, &path)).map_err(ArtifactError::Store)?;
        self.links.push(path);
        Ok(())
    }

    /// Another name for a file of the same archive.
    fn hard_link<R: Read>(&self, entry: &Entry<'_, R>, inside: &Path) -> Result<(), ArtifactError> {
        let target = self.normal(&self.target(entry, inside)?)?;
        let target = self.inside(&target).ok_or_else(|| self.refused(inside, LEADS_OUT))?;
        self.parents(&target)?;
        let original = self.to.join(&target);
        if !fs::symlink_metadata(&original).is_ok_and(|m| m.is_file()) {
            return Err(self.refused(inside, "is a link to a file that is not there"));
        }
        let path = self.to.join(inside);
        match path == original {
            true => Ok(()),
            false => clear(&path).and_then(|()| fs::hard_link(&original, &path)).map_err(ArtifactError::Store),
        }
    }

    fn target<R: Read>(&self, entry: &Entry<'_, R>, inside: &Path) -> Result<PathBuf, ArtifactError> {
        let target = entry.link_name().map_err(|cause| self.broken(cause))?;
        target.map(|t| t.into_owned()).ok_or_else(|| self.refused(inside, "is a link to nothing"))
    }

    /// A layer's mark that something below is gone.
    fn whiteout(&self, inside: &Path) -> Result<bool, ArtifactError> {
        let name = inside.file_name().unwrap_or_default().to_string_lossy();
        let parent = self.to.join(inside.parent().unwrap_or(Path::new("")));
        let done = match name.strip_prefix(WHITEOUT) {
            _ if name == OPAQUE => empty(&parent),
            Some(gone) if !gone.is_empty() => clear(&parent.join(gone)),
            _ => return Ok(false),
        };
        done.map(|()| true).map_err(ArtifactError::Store)
    }

    /// Links may lead through other links, so that only the whole can be judged.
    fn links_stay(&self) -> Result<(), ArtifactError> {
        let root = fs::canonicalize(self.to).map_err(ArtifactError::Store)?;
        for link in self.links.iter().filter(|link| fs::symlink_metadata(link).is_ok()) {
            let inside = link.strip_prefix(self.to).unwrap_or(link);
            match fs::canonicalize(link) {
                Ok(end) if end.starts_with(&root) => {}
                Ok(_) => return Err(self.refused(inside, LEADS_OUT)),
                Err(_) => return Err(self.refused(inside, "is a link to nothing")),
            }
        }
        Ok(())
    }

    fn broken(&self, cause: io::Error) -> ArtifactError {
        ArtifactError::Archive { what: self.what.to_owned(), cause }
    }

    fn refused(&self, path: &Path, problem: &'static str) -> ArtifactError {
        let path = bounded(&path.to_string_lossy(), MAX_SHOWN).into();
        ArtifactError::Entry { what: self.what.to_owned(), path, problem }
    }
}

const LEADS_OUT: &str = "is a link out of the plugin's files";

/// Makes way for another entry.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => removal::remove_tree(path),
        Ok(_) => fs::remove_file(path),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(cause),
    }
}

fn empty(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        clear(&entry?.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
