//! A plugin that takes all it can get of its host: each change of its configuration brings `attempts`, and it prints what
//! came of each. It speaks to the host past the SDK.

use rockstar_plugin::{Plugin, PluginConfig, PluginContext, Result, Value, async_trait};
use rockstar_proto::{
    plugin::{
        DatabaseReply, DatabaseRequest, Event, KeyValueRequest, Record, Registration, Statement, database_request,
        key_value_request::Operation, plugin_context_client::PluginContextClient, record, registration::Kind,
    },
    types::Failure,
};
use rustix::fs::{self, Mode, OFlags};
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    process::ExitCode,
    thread,
    time::Duration,
};
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

/// What a client of gRPC says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// More than what comes before the limits of a context.
const LARGE: usize = 16 << 20;

type Client = PluginContextClient<Channel>;
type Told = std::result::Result<Option<Failure>, Status>;

struct Greedy;

#[async_trait]
impl Plugin for Greedy {
    async fn initialize(&mut self, _: PluginContext) -> Result {
        Ok(())
    }

    async fn on_config_change(&mut self, config: PluginConfig) -> Result {
        let name = self.name();
        let round = config.integer("round").unwrap_or_default();
        let attempts: Vec<String> =
            config.array("attempts").unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect();
        thread::spawn(move || {
            for attempt in attempts {
                let outcome = attempted(&attempt).unwrap_or_else(|error| error.to_string());
                println!("[{name} {round}] {attempt} -> {outcome} |");
            }
        });
        Ok(())
    }
}

fn attempted(attempt: &str) -> io::Result<String> {
    let (verb, rest) = attempt.split_once(' ').unwrap_or((attempt, ""));
    let numbers: Vec<usize> = rest.split(' ').filter_map(|word| word.parse().ok()).collect();
    let number = |at: usize| numbers.get(at).copied().unwrap_or_default();
    match verb {
        "nest" => nest(number(0)),
        "threads" => threads(number(0)),
        "open" => open(number(0)),
        "fill" => fill(rest.split(' ').next().unwrap_or_default(), number(0)),
        "hold" => Ok(hold(number(0))),
        "connections" => Ok(connections(number(0))),
        _ => with_host(async |client| match verb {
            "register" => registrations(client, number(0), number(1)).await,
            "patterns" => patterns(client, number(0), number(1)).await,
            "publish" => publish(client, number(0), number(1)).await,
            "events" => events(client, number(0), number(1)).await,
            "cache" => cache(client, number(0), number(1)).await,
            "store" => store(client, number(0), number(1)).await,
            "log" => log(client, number(0), number(1)).await,
            "sql" => sql(client, rest).await,
            "rows" => rows(client, number(0)).await,
            _ => Err(Status::invalid_argument("no such attempt")),
        }),
    }
}

fn with_host(work: impl AsyncFnOnce(Client) -> std::result::Result<String, Status>) -> io::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(async {
            let connector = tower::service_fn(|_| async {
                tokio::net::UnixStream::connect("host.sock").await.map(hyper_util::rt::TokioIo::new)
            });
            let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
            work(PluginContextClient::new(channel).max_decoding_message_size(LARGE)).await
        })
        .map_err(|status| io::Error::other(status.message().to_owned()))
}

/// A directory in a directory, and so on: no path can name the last one.
fn nest(levels: usize) -> io::Result<String> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let mut current = fs::open("data", flags, Mode::empty())?;
    for _ in 0..levels {
        fs::mkdirat(&current, "d", Mode::RWXU)?;
        current = fs::openat(&current, "d", flags, Mode::empty())?;
    }
    Ok("done".to_owned())
}

/// Threads that stay.
fn threads(count: usize) -> io::Result<String> {
    for _ in 0..count {
        thread::Builder::new().spawn(|| thread::sleep(Duration::from_secs(3600)))?;
    }
    Ok("done".to_owned())
}

/// Files that stay open until there are no more.
fn open(count: usize) -> io::Result<String> {
    let mut files = Vec::new();
    for n in 0..count {
        match std::fs::File::create(format!("tmp/{n}")) {
            Ok(file) => files.push(file),
            Err(error) => return Ok(format!("{n} open: {error}")),
        }
    }
    Ok(format!("{count} open"))
}

/// A file of so many MiB.
fn fill(path: &str, size: usize) -> io::Result<String> {
    let mut file = std::fs::File::create(path)?;
    (0..size).try_for_each(|_| file.write_all(&[1; 1 << 20]))?;
    Ok("done".to_owned())
}

/// So many MiB of memory.
fn hold(size: usize) -> String {
    let held = vec![1_u8; size << 20];
    thread::sleep(Duration::from_secs(3600));
    format!("{} held", held.len())
}

/// How many of so many are served.
fn connections(count: usize) -> String {
    let mut open = Vec::new();
    for _ in 0..count {
        let Ok(mut stream) = UnixStream::connect("host.sock") else { continue };
        let spoken = stream.set_read_timeout(Some(Duration::from_secs(5))).and_then(|()| stream.write_all(PREFACE));
        if spoken.and_then(|()| stream.read(&mut [0])).is_ok_and(|read| read == 1) {
            open.push(stream);
        }
    }
    format!("{} served", open.len())
}

/// How many are taken, and why no more.
async fn taken(count: usize, mut one: impl AsyncFnMut(usize) -> Told) -> std::result::Result<String, Status> {
    for n in 0..count {
        match one(n).await {
            Ok(None) => {}
            Ok(Some(failure)) => return Ok(format!("{n} taken: {}", failure.text)),
            Err(status) => return Ok(format!("{n} taken: {}", status.message())),
        }
    }
    Ok(format!("{count} taken"))
}

fn name(n: usize, bytes: usize) -> String {
    let digits = n.to_string();
    "0".repeat(bytes.saturating_sub(digits.len())) + &digits
}

async fn registrations(mut client: Client, count: usize, bytes: usize) -> std::result::Result<String, Status> {
    taken(count, async |n| {
        let kind = Kind::Subscription.into();
        let wanted = Registration { kind, name: name(n, bytes), handler: "h".into(), ..Registration::default() };
        Ok(client.register(wanted).await?.into_inner().failure)
    })
    .await
}

async fn patterns(mut client: Client, count: usize, bytes: usize) -> std::result::Result<String, Status> {
    taken(count, async |n| {
        let routes = vec![format!("/{}", name(n, bytes - 1))];
        let kind = Kind::Middleware.into();
        let wanted = Registration { kind, name: n.to_string(), handler: "h".into(), routes, ..Registration::default() };
        Ok(client.register(wanted).await?.into_inner().failure)
    })
    .await
}

async fn publish(mut client: Client, count: usize, bytes: usize) -> std::result::Result<String, Status> {
    let mut last = String::new();
    for n in 0..count {
        let event = Event { name: name(n, bytes), ..Event::default() };
        last = match client.publish(event).await {
            Ok(outcome) => outcome.into_inner().failure.map_or_else(|| "taken".to_owned(), |failure| failure.text),
            Err(status) => status.message().to_owned(),
        };
    }
    Ok(last)
}

/// Events with so much data.
async fn events(mut client: Client, count: usize, bytes: usize) -> std::result::Result<String, Status> {
    taken(count, async |_| {
        let event = Event { name: "big".into(), data: vec![0; bytes].into(), ..Event::default() };
        Ok(client.publish(event).await?.into_inner().failure)
    })
    .await
}

fn set(n: usize, bytes: usize) -> KeyValueRequest {
    let (operation, value) = (Operation::Set.into(), vec![0; bytes].into());
    KeyValueRequest { operation, key: name(n, 8), value, ..KeyValueRequest::default() }
}

async fn cache(mut client: Client, count: usize, bytes: usize) -> std::result::Result<String, Status> {
    taken(count, async |n| Ok(client.cache(set(n, bytes)).await?.into_inner().failure)).await
}

async fn store(mut client: Client, count: usize, bytes: usize) -> std::result::Result<String, Status> {
    taken(count, async |n| Ok(client.storage(set(n, bytes)).await?.into_inner().failure)).await
}

/// Records with a field of that size.
async fn log(mut client: Client, count: usize, bytes: usize) -> std::result::Result<String, Status> {
    let record = move |n: usize| {
        let fields = [("field".to_owned(), rockstar_proto::types::Value::from(&Value::from("x".repeat(bytes))))];
        let kind = record::Kind::Log.into();
        Record {
            kind,
            level: "info".into(),
            name: format!("record {n}\nforged"),
            fields: fields.into(),
            ..Record::default()
        }
    };
    client.telemetry(tokio_stream::iter((0..count).map(record))).await?;
    Ok("done".to_owned())
}

async fn session(
    client: &mut Client,
    sql: &str,
    timeout_ms: u32,
) -> std::result::Result<Streaming<DatabaseReply>, Status> {
    let query = Statement { sql: sql.to_owned(), timeout_ms, ..Statement::default() };
    let request = DatabaseRequest { sequence: 1, request: Some(database_request::Request::Query(query)) };
    // Requests go on: the session stays.
    let requests = tokio_stream::StreamExt::chain(tokio_stream::iter([request]), tokio_stream::pending());
    Ok(client.database(requests).await?.into_inner())
}

/// One statement with a deadline of 1 s, and what it ends with.
async fn sql(mut client: Client, sql: &str) -> std::result::Result<String, Status> {
    use rockstar_proto::plugin::database_reply::Reply;
    let mut replies = session(&mut client, sql, 1000).await?;
    let mut rows = 0;
    while let Some(reply) = replies.message().await? {
        match reply.reply {
            Some(Reply::Row(_)) => rows += 1,
            Some(Reply::Done(_)) => return Ok(format!("{rows} rows")),
            Some(Reply::Failure(failure)) => return Ok(failure.text),
            _ => {}
        }
    }
    Ok("ended".to_owned())
}

/// Large rows without end in so many sessions, none of which is read.
async fn rows(mut client: Client, sessions: usize) -> std::result::Result<String, Status> {
    let endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT zeroblob(1000000) FROM c";
    let mut open = Vec::new();
    for _ in 0..sessions {
        open.push(session(&mut client, endless, 10_000).await?);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok(format!("{} open", open.len()))
}

fn main() -> ExitCode {
    rockstar_plugin::run(Greedy)
}
