//! Bodies that are too large for a message: plugins read and write them as they come, and nobody else waits for them.

use crate::{
    app::{App, Load},
    http,
    world::{World, plugin},
};
use futures::future::join_all;
use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

const CAP: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

async fn porter(entry: Value) -> (World, App) {
    let mut world = World::new();
    let directory = world.directory_of("porter");
    fs::create_dir_all(&directory).unwrap();
    let manifest = json!({
        "name": "porter", "version": "1.0.0", "description": "Carries", "author": "Me",
        "permissions": {"router": true},
    });
    fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_porter-plugin"), directory.join("porter")).unwrap();
    let mut own = json!({"name": "porter", "permissions": {"router": true}});
    own.as_object_mut().unwrap().extend(entry.as_object().unwrap().clone());
    world.write_file(json!([own]));
    world.start();
    world.until_status("porter", "running").await;
    let app = App::new(&world).await;
    (world, app)
}

/// Sends a body of that size in pieces, and gives what comes back.
async fn upload(address: SocketAddr, path: &str, size: usize, chunked: bool) -> String {
    timeout(CAP, uploaded(address, path, size, chunked)).await.expect("no answer")
}

async fn uploaded(address: SocketAddr, path: &str, size: usize, chunked: bool) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let framing = if chunked { "transfer-encoding: chunked".into() } else { format!("content-length: {size}") };
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{framing}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    // Who does not want it may close the connection.
    let sending = async move {
        let piece = vec![b'a'; MIB];
        let mut left = size;
        while left > 0 {
            let count = left.min(MIB);
            if chunked {
                to.write_all(format!("{count:x}\r\n").as_bytes()).await.ok()?;
            }
            to.write_all(&piece[..count]).await.ok()?;
            if chunked {
                to.write_all(b"\r\n").await.ok()?;
            }
            left -= count;
        }
        if chunked {
            to.write_all(b"0\r\n\r\n").await.ok()?;
        }
        Some(to)
    };
    let receiving = async {
        let mut answer = Vec::new();
        let _ = from.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::pin!(sending);
    tokio::pin!(receiving);
    tokio::select! {
        answer = &mut receiving => answer,
        kept = &mut sending => {
            let _open = kept;
            receiving.await
        }
    }
}

/// The highest that the sidecar ever needed, in bytes.
fn peak(world: &World) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", world.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[tokio::test]
async fn a_route_reads_a_body_of_any_size() {
    let (world, app) = porter(json!({})).await;
    for (size, chunked) in [(0, false), (10, true), (64 << 10, false), (200_000, true), (3 * MIB, false)] {
        let answer = upload(app.address, "/upload", size, chunked).await;
        assert!(answer.ends_with(&format!(r#"{{"size":{size},"sum":{}}}"#, size * 97)), "{size}: {answer}");
    }
    let before = peak(&world);
    let answer = upload(app.address, "/upload", 128 * MIB, false).await;
    assert!(answer.contains(&format!(r#""size":{}"#, 128 * MIB)), "{answer}");
    assert!(peak(&world) < before + 32 * MIB, "{} before, {} after", before, peak(&world));
    assert!(upload(app.address, "/small", 100_000, false).await.starts_with("HTTP/1.1 413 "));
    assert!(upload(app.address, "/small", 1_000, false).await.ends_with(r#"{"size":1000}"#));
}

#[tokio::test]
async fn a_response_of_any_size_reaches_the_client() {
    let (world, app) = porter(json!({})).await;
    for size in [10, 100_000, 5 * MIB] {
        let answer = app.get(&format!("/large/{size}")).await;
        assert_eq!((answer.status, answer.body.len()), (200, size));
        assert_eq!(answer.headers["content-length"], size.to_string());
    }
    let head = http::request(app.address, "HEAD", "/large/100000", &[], "").await;
    assert_eq!((head.status, head.headers["content-length"].as_str(), head.body.as_str()), (200, "100000", ""));
    let answer = app.get("/stream/1000000").await;
    assert_eq!((answer.status, answer.body.matches('x').count()), (200, 1_000_000));
    assert!(answer.headers.contains_key("transfer-encoding") && answer.body.ends_with("0\r\n\r\n"));
    world.until_log("written: /stream/1000000").await;
    let answer = app.get("/broken/1000000").await;
    assert!(answer.status == 200 && !answer.body.ends_with("0\r\n\r\n"), "what broke off does not look whole");
    let answer = app.get("/replaced/300000").await;
    assert_eq!((answer.status, answer.body), (200, "x".repeat(300_000)));
    world.until_log("written: /replaced/300000").await;
}

/// The plugin's other calls share its stream, and the application's other requests theirs.
#[tokio::test]
async fn a_reply_that_is_too_large_fails_alone() {
    let (world, app) = porter(json!({})).await;
    let before = world.pid_of("porter").unwrap();
    let load = Load::new(app.address, "/large/10", 8);
    load.more(&world, 50).await;
    assert_eq!(app.get("/header/200000").await.headers["x-large"].len(), 200_000);
    assert_eq!(app.get("/header/5000000").await.status, 500);
    world.until_log("is larger than 262144").await;
    load.more(&world, 50).await;
    assert!(load.end().await.iter().all(|answer| answer.status == 200));
    assert_eq!(world.pid_of("porter").unwrap(), before);
}

#[tokio::test]
async fn a_response_whose_head_is_too_large_to_tell_is_told_without_it() {
    let world = World::started(&[plugin("p", json!([{"type": "post_response"}]))]).await;
    let app = App::new(&world).await;
    for path in ["/heavy", "/", "/heavy"] {
        assert_eq!(app.get(path).await.status, 200);
    }
    let told = || world.trace().into_iter().filter(|line| line == "p.post_response 200").count();
    world.until("the hooks", || async { told() == 3 }).await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_not_waited_for() {
    let (_world, app) = porter(json!({})).await;
    let head = [("content-length", "1000000000")];
    let mut stream = http::sent(app.address, "POST", "/ignored", &head, "").await.unwrap();
    let mut answer = [0; 12];
    timeout(CAP, stream.read_exact(&mut answer)).await.expect("no answer").unwrap();
    assert_eq!(answer, *b"HTTP/1.1 403");
}

#[tokio::test]
async fn stalled_bodies_and_large_heads_hold_up_nobody_else() {
    let (world, app) = porter(json!({"hook_timeout": "3s"})).await;
    let stalled = join_all((0..8).map(|_| upload(app.address, "/stalled", 1 << 30, false)));
    let others = async {
        let load = Load::new(app.address, "/large/10", 63);
        load.more(&world, 500).await;
        let head = "x".repeat(5 * MIB);
        let large = http::request(app.address, "POST", "/upload", &[("x-large", &head)], "small").await;
        load.more(&world, 500).await;
        let whole = upload(app.address, "/small", 100_000, false).await;
        let read = upload(app.address, "/upload", 5 * MIB, true).await;
        load.more(&world, 500).await;
        (load.end().await, large, whole, read)
    };
    let (stalled, (answers, large, whole, read)) = tokio::join!(stalled, others);
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!((large.status, whole.lines().next()), (431, Some("HTTP/1.1 413 Payload Too Large")), "{}", large.body);
    assert!(read.contains(&format!(r#""size":{}"#, 5 * MIB)), "{read}");
    assert!(stalled.iter().all(|answer| answer.starts_with("HTTP/1.1 503 ")), "{stalled:?}");
    let text = "handler execution timeout: POST /stalled handler exceeded 3s timeout";
    assert!(world.log().contains(text), "{}", world.log());
}

/// Clients that neither go on nor go away are not the plugin's fault, nor do they keep others from it.
#[tokio::test]
async fn clients_that_stall_harm_neither_the_plugin_nor_others() {
    let (world, app) = porter(json!({})).await;
    let answers = Arc::new(Mutex::new(Vec::new()));
    let mut clients = JoinSet::new();
    for _ in 0..100 {
        let (address, answers) = (app.address, Arc::clone(&answers));
        clients.spawn(async move {
            let head = [("content-length", "1000000000")];
            let mut stream = http::sent(address, "POST", "/upload", &head, "").await.unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            answers.lock().unwrap().push(answer);
        });
    }
    // So many of them are read, the rest is refused.
    world.until("36 answers", || async { answers.lock().unwrap().len() >= 36 }).await;
    assert_eq!(app.get("/large/10").await.status, 200);
    assert_eq!(*answers.lock().unwrap(), vec![*b"HTTP/1.1 503"; 36]);
    clients.shutdown().await;
    let read = || async { upload(app.address, "/upload", 10, false).await.contains("200 OK") };
    world.until("room for another", read).await;
    assert_eq!(world.health("porter").await.unwrap().error_count, 0);
}

/// All that they did not read is more than the plugin may have in memory.
#[tokio::test]
async fn clients_that_leave_a_download_are_noticed() {
    let (world, app) = porter(json!({})).await;
    for _ in 0..4 {
        let sent = (0..100).map(|_| http::sent(app.address, "GET", "/stream/5000000", &[], ""));
        let mut downloads = join_all(sent).await;
        for download in &mut downloads {
            download.as_mut().unwrap().read_exact(&mut [0; 1000]).await.unwrap();
        }
    }
    assert_eq!(app.get("/large/5000000").await.body.len(), 5_000_000);
    for _ in 0..200 {
        assert_eq!(http::request(app.address, "HEAD", "/large/1000000", &[], "").await.status, 200);
    }
    // Nothing is under way that this would wait for.
    world.reload("porter").await.unwrap();
    assert!(!world.log().contains("calls still ran when it was replaced"), "{}", world.log());
    assert_eq!(app.get("/large/10").await.status, 200);
}

#[tokio::test]
async fn a_client_that_goes_ends_its_upload() {
    let (world, app) = porter(json!({})).await;
    let head = [("content-length", "1000000000")];
    let mut stream = http::sent(app.address, "POST", "/upload", &head, "").await.unwrap();
    stream.write_all(&vec![b'a'; MIB]).await.unwrap();
    drop(stream);
    world.until_log("upload given up").await;
    assert_eq!(world.health("porter").await.unwrap().error_count, 0, "not the plugin's fault");
    assert_eq!(upload(app.address, "/upload", 10, false).await.lines().next(), Some("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_body_under_way_outlives_a_reload() {
    let (world, app) = porter(json!({})).await;
    let size = 20 * MIB;
    let mut stream = http::sent(app.address, "GET", &format!("/large/{size}"), &[], "").await.unwrap();
    let mut first = vec![0; 100_000];
    stream.read_exact(&mut first).await.unwrap();
    let (reloaded, rest) = tokio::join!(world.reload("porter"), async {
        let mut rest = Vec::new();
        timeout(CAP, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
        rest
    });
    reloaded.unwrap();
    let all = [first, rest].concat();
    let head = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(all.len() - head, size);
    assert_eq!(app.get("/large/10").await.status, 200);
}
