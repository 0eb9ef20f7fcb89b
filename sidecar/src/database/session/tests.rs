use super::{
    super::{Engine, sink::Queued},
    *,
};
use parking_lot::Mutex;
use rockstar_proto::{
    plugin::database_reply::Reply,
    types::{Empty, Value, value::Kind},
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

struct Open;

impl Gate for Open {
    fn allowed(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn failure(&self, error: &DatabaseError) -> Failure {
        Failure { text: error.to_string(), ..Failure::default() }
    }
}

struct Client {
    requests: mpsc::Sender<Result<DatabaseRequest, Status>>,
    replies: mpsc::Receiver<Queued>,
}

/// Rows, affected rows, last id.
type Answer = Result<(Vec<Vec<Value>>, i64, i64), String>;

impl Client {
    fn new(database: &Arc<Database>, plugin: &str, idle: Duration) -> Self {
        let (requests, incoming) = mpsc::channel(1);
        let (outgoing, replies) = super::super::replies(1);
        let session = Session { idle, ..Session::new(Arc::clone(database), plugin, Open) };
        tokio::spawn(session.serve(ReceiverStream::new(incoming), outgoing));
        Self { requests, replies }
    }

    async fn ask(&mut self, request: Request) -> Answer {
        self.requests.send(Ok(DatabaseRequest { sequence: 7, request: Some(request) })).await.unwrap();
        let mut rows = Vec::new();
        while let Some(reply) = self.replies.recv().await {
            let reply = reply.into_reply();
            assert_eq!(reply.sequence, 7);
            match reply.reply.unwrap() {
                Reply::Columns(_) => {}
                Reply::Row(row) => rows.push(row.values),
                Reply::Done(done) => return Ok((rows, done.affected, done.last_id)),
                Reply::Failure(failure) => return Err(failure.text),
            }
        }
        panic!("the session ended");
    }

    async fn run(&mut self, sql: &str, arguments: serde_json::Value) -> Answer {
        self.ask(Request::Query(asked(sql, &arguments, 0))).await
    }

    async fn count(&mut self) -> i64 {
        let (rows, ..) = self.run("SELECT count(*) FROM t", json!([])).await.unwrap();
        let Some(Kind::Integer(count)) = rows[0][0].kind else { panic!("{rows:?}") };
        count
    }
}

fn asked(sql: &str, arguments: &serde_json::Value, timeout_ms: u32) -> Asked {
    let arguments = arguments.as_array().unwrap().iter().map(Value::from).collect();
    Asked { sql: sql.into(), arguments, timeout_ms }
}

fn database(directory: &tempfile::TempDir) -> Arc<Database> {
    Arc::new(Database::new(None, directory.path(), false))
}

async fn with_table(directory: &tempfile::TempDir) -> (Arc<Database>, Client) {
    let database = database(directory);
    let mut client = Client::new(&database, "p", IDLE);
    client.run("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)", json!([])).await.unwrap();
    (database, client)
}

const INSERT: &str = "INSERT INTO t (name) VALUES (?)";

#[tokio::test]
async fn arguments_are_bound_and_effects_told() {
    let directory = tempfile::tempdir().unwrap();
    let (_, mut client) = with_table(&directory).await;
    assert_eq!(client.run(INSERT, json!(["x'; DROP TABLE t"])).await.unwrap(), (vec![], 1, 1));
    let (rows, affected, _) = client.run("SELECT name FROM t WHERE id = ?", json!([1])).await.unwrap();
    assert_eq!((rows, affected), (vec![vec![Value::from(&json!("x'; DROP TABLE t"))]], 0));
    let error = client.run("SELECT ?", json!([])).await.unwrap_err();
    assert_eq!(error, "the statement has 1 placeholders, but 0 arguments are given");
    let error = client.run("COMMIT", json!([])).await.unwrap_err();
    assert_eq!(error, DatabaseError::Control.to_string());
}

#[tokio::test]
async fn only_a_commit_keeps_what_a_transaction_did() {
    let directory = tempfile::tempdir().unwrap();
    let (database, mut client) = with_table(&directory).await;
    client.ask(Request::Begin(Empty {})).await.unwrap();
    client.run(INSERT, json!(["a"])).await.unwrap();
    client.ask(Request::Commit(Empty {})).await.unwrap();
    client.ask(Request::Rollback(Empty {})).await.unwrap();
    client.ask(Request::Begin(Empty {})).await.unwrap();
    client.run(INSERT, json!(["b"])).await.unwrap();
    client.ask(Request::Rollback(Empty {})).await.unwrap();
    assert_eq!(client.count().await, 1);
    client.ask(Request::Begin(Empty {})).await.unwrap();
    client.run(INSERT, json!(["c"])).await.unwrap();
    drop(client);
    // Begins only once the transaction before has ended.
    let mut other = Client::new(&database, "p", IDLE);
    other.ask(Request::Begin(Empty {})).await.unwrap();
    assert_eq!(other.count().await, 1);
}

#[tokio::test]
async fn an_idle_transaction_is_rolled_back_and_its_plugin_hears_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (database, mut other) = with_table(&directory).await;
    let mut client = Client::new(&database, "p", Duration::from_millis(1));
    client.ask(Request::Begin(Empty {})).await.unwrap();
    other.ask(Request::Begin(Empty {})).await.unwrap();
    other.run(INSERT, json!(["kept"])).await.unwrap();
    other.ask(Request::Commit(Empty {})).await.unwrap();
    let error = client.ask(Request::Commit(Empty {})).await.unwrap_err();
    assert_eq!(error, "the transaction was rolled back: it was idle for 0s");
    assert_eq!(client.count().await, 1);
}

#[tokio::test]
async fn a_plugin_that_always_writes_lets_others_write_in_between() {
    let directory = tempfile::tempdir().unwrap();
    let (database, mut other) = with_table(&directory).await;
    let mut greedy: Vec<_> = (0..3).map(|_| Client::new(&database, "q", IDLE)).collect();
    greedy[0].ask(Request::Begin(Empty {})).await.unwrap();
    let [first, rest @ ..] = &mut greedy[..] else { panic!() };
    let begin = |client: &mut Client| {
        client.requests.try_send(Ok(DatabaseRequest { sequence: 7, request: Some(Request::Begin(Empty {})) })).unwrap();
    };
    rest.iter_mut().for_each(begin);
    let limited = Request::Query(asked(INSERT, &json!(["late"]), 50));
    assert_eq!(other.ask(limited).await.unwrap_err(), DatabaseError::Written.to_string());
    let commit = async {
        let Engine::Sqlite(file) = &database.engine else { panic!() };
        while file.writers() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        first.ask(Request::Commit(Empty {})).await
    };
    let (written, ended) = tokio::join!(other.run(INSERT, json!(["in between"])), commit);
    written.unwrap();
    ended.unwrap();
    // One of the greedy plugin's transactions is open by now, or will be.
    assert_eq!(other.count().await, 1);
}

#[tokio::test]
async fn an_endless_statement_ends_at_its_deadline_and_others_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (database, mut other) = with_table(&directory).await;
    let mut client = Client::new(&database, "q", IDLE);
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let error = client.ask(Request::Query(asked(endless, &json!([]), 50))).await.unwrap_err();
    assert_eq!(error, "the statement was interrupted at its deadline");
    other.run(INSERT, json!(["a"])).await.unwrap();
    assert_eq!(client.count().await, 1);
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_statement() {
    let directory = tempfile::tempdir().unwrap();
    let (database, _other) = with_table(&directory).await;
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    for _ in 0..2 * super::super::POOL {
        let client = Client::new(&database, "p", IDLE);
        let request =
            DatabaseRequest { sequence: 1, request: Some(Request::Query(asked(endless, &json!([]), 600_000))) };
        client.requests.send(Ok(request)).await.unwrap();
    }
    let mut client = Client::new(&database, "p", IDLE);
    assert_eq!(client.count().await, 0);
}

#[tokio::test]
async fn a_transaction_may_be_as_long_as_is_allowed_when_it_begins() {
    static ALLOWED: Mutex<Duration> = Mutex::new(Duration::from_secs(60));
    let data = tempfile::tempdir().unwrap();
    let (requests, incoming) = mpsc::channel(1);
    let (outgoing, replies) = super::super::replies(1);
    let database = database(&data);
    let session = Session { allowed: || *ALLOWED.lock(), ..Session::new(database, "p", Open) };
    tokio::spawn(session.serve(ReceiverStream::new(incoming), outgoing));
    let mut client = Client { requests, replies };
    client.ask(Request::Begin(Empty {})).await.unwrap();
    *ALLOWED.lock() = Duration::from_millis(10);
    client.run("SELECT 1", json!([])).await.unwrap();
    client.ask(Request::Commit(Empty {})).await.unwrap();
    client.ask(Request::Begin(Empty {})).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let lost = client.ask(Request::Commit(Empty {})).await.unwrap_err();
    let why = "it was open for 10ms, the longest that a transaction may be (limits.transaction)";
    assert_eq!(lost, format!("the transaction was rolled back: {why}"));
}
