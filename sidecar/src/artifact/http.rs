//! Artifacts on a web server: a tar.gz with the plugin's files, or its program alone. Does I/O.

use super::{
    Artifact, ArtifactError, Store,
    draft::Draft,
    transfer::{self, ANSWER, BODY, largest, unavailable, within},
    unpack,
};
use futures::TryStreamExt;
use reqwest::{Response, StatusCode, Url};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// What the program is called where it came alone.
const PROGRAM: &str = "program";

pub(super) async fn fetch(store: &Store, url: &str, sha256: &str) -> Result<Artifact, ArtifactError> {
    let (address, from) = address(url)?;
    let expected = transfer::sha256(sha256).ok_or_else(|| ArtifactError::Unusable {
        what: from.clone(),
        problem: format!("'{sha256}' is not a SHA-256 of 64 hexadecimal digits"),
    })?;
    let names = [format!("http-{expected}"), format!("http-{expected}-file")];
    for (id, alone) in names.iter().zip([false, true]) {
        if let Some(directory) = store.find(id) {
            return Ok(artifact(id.clone(), &directory, alone));
        }
    }
    let file = store.scratch()?;
    download(address, &from, &file, &expected).await?;
    store.blocking(move |store| keep(store, &file, &from, names)).await
}

fn artifact(id: String, directory: &Path, alone: bool) -> Artifact {
    Artifact { id, directory: directory.to_owned(), program: alone.then(|| directory.join(PROGRAM)) }
}

/// An address, and how to name it: without what may be secret in it.
fn address(url: &str) -> Result<(Url, String), ArtifactError> {
    let unusable = |problem: String| ArtifactError::Unusable { what: "the source".to_owned(), problem };
    let address: Url = url.parse().map_err(|error| unusable(format!("its URL is malformed: {error}")))?;
    let host = match (address.scheme(), address.host_str()) {
        ("http" | "https", Some(host)) => host,
        _ => return Err(unusable("its URL must begin with https:// or http://".to_owned())),
    };
    let port = address.port().map(|port| format!(":{port}")).unwrap_or_default();
    let from = format!("{}://{host}{port}{}", address.scheme(), address.path());
    Ok((address, from))
}

async fn download(address: Url, from: &str, file: &File, expected: &str) -> Result<(), ArtifactError> {
    let request = transfer::client().map_err(|error| unavailable(from, error))?.get(address).send();
    let response = within(ANSWER, from, async { request.await.map_err(|error| unavailable(from, error)) }).await?;
    let response = accepted(from, response)?;
    transfer::fits(from, response.content_length().unwrap_or(0), largest())?;
    let mut hash = Sha256::new();
    let body = response.bytes_stream().inspect_ok(|chunk| hash.update(chunk));
    let body = body.map_err(|error| unavailable(from, error));
    within(BODY, from, transfer::save(body, from, file, largest())).await?;
    match hex::encode(hash.finalize()) {
        actual if actual == expected => Ok(()),
        _ => Err(ArtifactError::Digest { what: from.to_owned(), expected: format!("sha256:{expected}") }),
    }
}

fn accepted(from: &str, response: Response) -> Result<Response, ArtifactError> {
    let (status, from) = (response.status(), from.to_owned());
    let cause = format!("the server answered {status}");
    match status {
        StatusCode::OK => Ok(response),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(ArtifactError::NotFound(from)),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ArtifactError::Denied { from, cause }),
        _ => Err(ArtifactError::Unavailable { from, cause }),
    }
}

fn keep(store: &Path, file: &File, from: &str, [tree, alone]: [String; 2]) -> Result<Artifact, ArtifactError> {
    let draft = Draft::new(store)?;
    let (id, alone) = match transfer::magic(file).map_err(ArtifactError::Store)? {
        [0x1f, 0x8b, ..] => {
            unpack::files(from, std::slice::from_ref(file), draft.path())?;
            (tree, false)
        }
        [0x7f, b'E', b'L', b'F'] | [b'#', b'!', ..] => {
            program(file, &draft.path().join(PROGRAM)).map_err(ArtifactError::Store)?;
            (alone, true)
        }
        _ => {
            let problem = "it is neither a tar.gz nor an executable".to_owned();
            return Err(ArtifactError::Unusable { what: from.to_owned(), problem });
        }
    };
    let directory = store.join(&id);
    draft.publish(&directory)?;
    Ok(artifact(id, &directory, alone))
}

fn program(mut from: &File, to: &Path) -> io::Result<()> {
    let mut file = File::create_new(to)?;
    io::copy(&mut from, &mut file)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    file.sync_all()
}
