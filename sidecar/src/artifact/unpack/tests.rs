use super::*;
use flate2::{Compression, write::GzEncoder};
use std::os::unix::fs::MetadataExt;
use tar::{Builder, Header};
use tempfile::TempDir;

/// (kind, path, content or target, mode)
type Given<'a> = (EntryType, &'a str, &'a str, u32);

const FILE: EntryType = EntryType::Regular;
const LINK: EntryType = EntryType::Symlink;

fn archive(entries: &[Given<'_>]) -> File {
    let mut tar = Builder::new(GzEncoder::new(tempfile::tempfile().unwrap(), Compression::fast()));
    for (kind, path, text, mode) in entries {
        let mut header = Header::new_gnu();
        let linked = kind.is_symlink() || kind.is_hard_link();
        let content = if linked { "" } else { text };
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        // Builder refuses paths that a bad archive may hold.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        if linked {
            header.as_mut_bytes()[157..157 + text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn unpacked(entries: &[Given<'_>]) -> Result<TempDir, String> {
    let to = tempfile::tempdir().unwrap();
    let done = files("x", &[archive(entries)], to.path());
    done.map(|()| to).map_err(|error| error.to_string())
}

fn text(root: &TempDir, path: &str) -> String {
    fs::read_to_string(root.path().join(path)).unwrap()
}

#[test]
fn files_keep_whether_they_can_be_run() {
    let root = unpacked(&[
        (EntryType::Directory, "./lib/", "", 0o700),
        (FILE, "./p", "program", 0o4750),
        (FILE, "lib/deep/data", "data", 0o666),
        (LINK, "lib/link", "deep/../../p", 0o777),
        (EntryType::Link, "hard", "lib/deep/data", 0o644),
    ])
    .unwrap();
    let mode = |path: &str| root.path().join(path).metadata().unwrap().mode() & 0o7777;
    assert_eq!([mode("p"), mode("lib/deep/data"), mode("lib")], [0o755, 0o644, 0o755]);
    assert_eq!([text(&root, "lib/link"), text(&root, "hard")], ["program", "data"]);
}

#[test]
fn nothing_leaves_the_directory() {
    let out = "is a link out of the plugin's files";
    let cases: &[(&[Given<'_>], &str)] = &[
        (&[(FILE, "../p", "", 0o644)], "../p leads out of the archive"),
        (&[(FILE, "a/../../p", "", 0o644)], "a/../../p leads out of the archive"),
        (&[(FILE, "/etc/p", "", 0o644)], "/etc/p leads out of the archive"),
        (&[(LINK, "l", "/etc/passwd", 0o777)], &format!("l {out}")),
        (&[(LINK, "l", "../../../../../../etc/passwd", 0o777)], &format!("l {out}")),
        (&[(LINK, "l", "nowhere", 0o777)], "l is a link to nothing"),
        (&[(LINK, "l", "l", 0o777)], "l is a link to nothing"),
        (&[(EntryType::Link, "l", "../p", 0o644)], "../p leads out of the archive"),
        (&[(EntryType::Link, "l", "none", 0o644)], "l is a link to a file that is not there"),
        // Through a link, and through a link of links.
        (&[(LINK, "l", ".", 0o777), (FILE, "l/p", "", 0o644)], "l is a directory and something else too"),
        (
            &[(FILE, "a/b/f", "", 0o644), (LINK, "a/b/s", "../..", 0o777), (LINK, "l", "a/b/s/..", 0o777)],
            &format!("l {out}"),
        ),
        (&[(EntryType::Char, "null", "", 0o666)], "null is neither a file nor a directory nor a link"),
        (&[(EntryType::Fifo, "fifo", "", 0o666)], "fifo is neither a file nor a directory nor a link"),
    ];
    for (entries, problem) in cases {
        assert_eq!(unpacked(entries).unwrap_err(), format!("failed to unpack x: {problem}"));
    }
}

#[test]
fn a_link_is_replaced_rather_than_written_through() {
    let root = unpacked(&[(FILE, "a", "a", 0o644), (LINK, "l", "a", 0o777), (FILE, "l", "own", 0o644)]).unwrap();
    assert_eq!([text(&root, "a"), text(&root, "l")], ["a", "own"]);
}

#[test]
fn what_is_no_archive_is_named() {
    let to = tempfile::tempdir().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[0x1f, 0x8b, 8, 0, 1, 2, 3]).unwrap();
    let error = files("x", &[file], to.path()).unwrap_err().to_string();
    assert!(error.starts_with("failed to unpack x: "), "{error}");
}

#[test]
fn an_archive_need_not_be_compressed() {
    let mut packed = archive(&[(FILE, "p", "program", 0o755)]);
    let (mut plain, to) = (tempfile::tempfile().unwrap(), tempfile::tempdir().unwrap());
    packed.rewind().unwrap();
    io::copy(&mut MultiGzDecoder::new(packed), &mut plain).unwrap();
    files("x", &[plain], to.path()).unwrap();
    assert_eq!(text(&to, "p"), "program");
}

#[test]
fn room_is_counted_before_it_is_used() {
    let to = tempfile::tempdir().unwrap();
    let given = [archive(&[(FILE, "a", "abc", 0o644), (FILE, "b", "def", 0o644)])];
    let unpacking = || Unpacking::new("x", to.path());
    let error = Unpacking { bytes: 5, ..unpacking() }.all(&given).unwrap_err();
    assert_eq!(error.to_string(), "x is too large: at most 512Mi (limits.artifact) unpacked are allowed");
    assert!(to.path().join("a").is_file() && !to.path().join("b").exists());
    let error = Unpacking { entries: 1, ..unpacking() }.all(&given).unwrap_err();
    assert_eq!(error.to_string(), "x is too large: at most 100000 entries are allowed");
}

fn image_of(layers: &[&[Given<'_>]]) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    let layers = layers.iter().map(|l| archive(l)).collect::<Vec<_>>();
    image("x", &layers, to.path()).unwrap();
    to
}

#[test]
fn of_an_image_with_a_system_only_the_plugin_is_taken() {
    let system: &[Given<'_>] = &[(LINK, "run", "/var/run", 0o777), (EntryType::Char, "dev/null", "", 0o666)];
    let plugin: &[Given<'_>] = &[(FILE, "plugin/plugin.yaml", "m", 0o644), (FILE, "plugin/p", "p", 0o755)];
    let root = image_of(&[system, plugin]);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    assert_eq!([text(&root, "plugin.yaml"), text(&root, "p")], ["m", "p"]);
}

#[test]
fn upper_layers_take_away() {
    let lower: &[Given<'_>] = &[
        (FILE, "plugin.json", "{}", 0o644),
        (FILE, "old", "", 0o644),
        (FILE, "lib/a", "", 0o644),
        (FILE, "p", "1", 0o755),
    ];
    let upper: &[Given<'_>] = &[
        (FILE, ".wh.old", "", 0),
        (FILE, "lib/.wh..wh..opq", "", 0),
        (FILE, "lib/b", "", 0o644),
        (FILE, "p", "2", 0o755),
    ];
    let root = image_of(&[lower, upper]);
    let there = |path: &str| root.path().join(path).exists();
    assert_eq!(["plugin.json", "old", "lib/a", "lib/b"].map(there), [true, false, false, true]);
    assert_eq!(text(&root, "p"), "2");
}

/// An archive whose entry is preceded by headers of that size.
fn preceded(kind: EntryType, size: usize) -> File {
    let mut tar = Builder::new(GzEncoder::new(tempfile::tempfile().unwrap(), Compression::fast()));
    let mut append = |kind: EntryType, content: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_path("p").unwrap();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content).unwrap();
    };
    append(kind, &vec![b'a'; size]);
    append(FILE, b"");
    tar.into_inner().unwrap().finish().unwrap()
}

#[test]
fn what_precedes_an_entry_is_read_up_to_a_bound() {
    let most = usize::try_from(MAX_HEADERS).unwrap();
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let to = tempfile::tempdir().unwrap();
        let error = |size| files("x", &[preceded(kind, size)], to.path()).unwrap_err().to_string();
        let bound = format!("the headers of an entry have more than {MAX_HEADERS} bytes");
        assert!(error(most).contains(&bound), "{}", error(most));
        assert!(!files("x", &[preceded(kind, most - 4096)], to.path()).is_err_and(|e| e.to_string().contains(&bound)));
        assert!(image("x", &[preceded(kind, most)], to.path()).is_err_and(|e| e.to_string().contains(&bound)));
    }
}

#[test]
fn names_that_cannot_be_stored_are_the_archives_fault() {
    let long = |name: &[u8]| {
        let mut tar = Builder::new(tempfile::tempfile().unwrap());
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        let path = <std::ffi::OsStr as OsStrExt>::from_bytes(name);
        tar.append_data(&mut header, path, io::empty()).unwrap();
        let to = tempfile::tempdir().unwrap();
        files("x", &[tar.into_inner().unwrap()], to.path()).map_err(|error| (error.class(), error.to_string()))
    };
    let deep = |levels: usize| vec!["d"; levels].join("/").into_bytes();
    assert!(long(&[b'n'; MAX_NAME]).is_ok() && long(&deep(MAX_PATH / 2)).is_ok());
    for name in [vec![b'n'; MAX_NAME + 1], deep(MAX_PATH / 2 + 1), deep(5000)] {
        let (class, text) = long(&name).unwrap_err();
        assert_eq!(class, crate::failure::Class::Revision);
        assert!(text.contains("is a name too long to be stored") && text.len() < 400, "{text}");
    }
}
