//! A plugin that uses the framework's services as requests tell it: the body of `POST /NAME` is one command, the answer
//! is what came of it.

use rockstar_plugin::{
    Database, HookContext, HookType, Plugin, PluginContext, Result, Row, RowStream, SqlValue, Transaction, Value,
    async_trait, json,
};
use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::Mutex, time::sleep};

struct Commanded;

#[derive(Clone)]
struct Caller {
    ctx: PluginContext,
    path: String,
    transaction: Arc<Mutex<Option<Transaction>>>,
}

#[async_trait]
impl Plugin for Commanded {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let caller = Caller { ctx: ctx.clone(), path: format!("/{}", self.name()), transaction: Arc::default() };
        let run = move |hook: HookContext| {
            let caller = caller.clone();
            async move { caller.answer(&hook).await }
        };
        ctx.register_hook_with_body(HookType::PreRequest, 100, run).await?;
        Ok(())
    }
}

impl Caller {
    async fn answer(&self, hook: &HookContext) -> Result {
        let context = hook.context();
        if context.path() != self.path {
            return Ok(());
        }
        let command: Value = serde_json::from_slice(context.body().ok_or("no command")?)?;
        let done = self.run(&command).await.unwrap_or_else(|error| json!({"error": error.to_string()}));
        context.respond(200, &[], done.to_string());
        Ok(())
    }

    async fn run(&self, command: &Value) -> Result<Value> {
        let text = |field: &str| command[field].as_str().unwrap_or_default();
        let operation = text("do");
        match operation.split_once(' ') {
            Some(("cache", what)) => self.cache(what, text("key"), command).await,
            Some(("storage", what)) => self.storage(what, text("key"), command).await,
            Some(("config", what)) => self.config(what, text("key")).await,
            _ => self.database(operation, text("sql"), command).await,
        }
    }

    async fn database(&self, operation: &str, sql: &str, command: &Value) -> Result<Value> {
        let mut open = self.transaction.lock().await;
        let arguments: Vec<SqlValue> = command["args"].as_array().into_iter().flatten().map(argument).collect();
        let database = self.timed(command);
        match (operation, open.as_mut()) {
            ("begin", _) => *open = Some(database.begin().await?),
            ("commit", Some(tx)) => tx.commit().await?,
            ("rollback", Some(tx)) => tx.rollback().await?,
            ("query in transaction", Some(tx)) => return Ok(rows(&tx.query(sql, arguments).await?)),
            ("sum in transaction", Some(tx)) => return sum(tx.query_stream(sql, arguments).await?, command).await,
            ("exec in transaction", Some(tx)) => return Ok(json!(tx.exec(sql, arguments).await?.rows_affected)),
            ("drop", _) => drop(open.take()),
            ("query", _) => return Ok(rows(&database.query(sql, arguments).await?)),
            ("sum", _) => return sum(database.query_stream(sql, arguments).await?, command).await,
            ("exec", _) => {
                let done = database.exec(sql, arguments).await?;
                return Ok(json!([done.rows_affected, done.last_insert_id]));
            }
            _ => return Err(format!("cannot {operation}").into()),
        }
        Ok(json!("done"))
    }

    fn timed(&self, command: &Value) -> Database {
        let database = self.ctx.database();
        command["timeout_ms"]
            .as_u64()
            .map_or_else(|| database.clone(), |ms| database.with_timeout(Duration::from_millis(ms)))
    }

    async fn cache(&self, what: &str, key: &str, command: &Value) -> Result<Value> {
        let cache = self.ctx.cache();
        let ttl = Duration::from_millis(command["ttl_ms"].as_u64().unwrap_or_default());
        match what {
            "get" => {
                return Ok(cache.get::<Value>(key).await?.map_or(json!("not found"), |value| json!({"found": value})));
            }
            "set" => cache.set(key, &command["value"], ttl).await?,
            "delete" => cache.delete(key).await?,
            _ => return Err(format!("cannot {what} the cache").into()),
        }
        Ok(json!("done"))
    }

    async fn storage(&self, what: &str, key: &str, command: &Value) -> Result<Value> {
        let storage = self.ctx.plugin_storage();
        match what {
            "get" => return Ok(storage.get(key).await?),
            "set" => storage.set(key, &command["value"]).await?,
            "get time" => return Ok(json!(since(storage.get_time(key).await?))),
            "set time" => storage.set_time(key, moment(command["value"].as_u64().unwrap_or_default())).await?,
            "delete" => storage.delete(key).await?,
            "list" => return Ok(json!(storage.list().await?)),
            "clear" => storage.clear().await?,
            _ => return Err(format!("cannot {what} the storage").into()),
        }
        Ok(json!("done"))
    }

    async fn config(&self, what: &str, key: &str) -> Result<Value> {
        let config = self.ctx.config();
        Ok(match what {
            "string" => json!(config.get_string(key).await?),
            "int" => json!(config.get_int(key).await?),
            "float" => json!(config.get_float(key).await?),
            "bool" => json!(config.get_bool(key).await?),
            "duration" => json!(config.get_duration(key).await?.as_millis().to_string()),
            _ => config.get(key).await?,
        })
    }
}

/// Plain, or `{"time": NANOSECONDS}`, `{"decimal": DIGITS}`, `{"bytes": [..]}`.
fn argument(value: &Value) -> SqlValue {
    if let Some(at) = value["time"].as_u64() {
        return SqlValue::Time(moment(at));
    }
    if let Some(digits) = value["decimal"].as_str() {
        return SqlValue::Decimal(digits.to_owned());
    }
    match value["bytes"].as_array() {
        Some(bytes) => SqlValue::Bytes(bytes.iter().filter_map(|b| b.as_u64()?.try_into().ok()).collect()),
        None => value.clone().into(),
    }
}

fn rows(rows: &[Row]) -> Value {
    let cells = |row: &Row| row.values().iter().map(cell).collect::<Vec<_>>();
    json!(rows.iter().map(cells).collect::<Vec<_>>())
}

/// How many rows there are and the sum of their `i`, or those of the `first` rows; with a pause after the first one.
async fn sum(mut rows: RowStream<'_>, command: &Value) -> Result<Value> {
    let most = command["first"].as_u64().unwrap_or(u64::MAX);
    let pause = Duration::from_millis(command["pause_ms"].as_u64().unwrap_or_default());
    let (mut count, mut sum) = (0, 0);
    while count < most
        && let Some(row) = rows.next().await.transpose()?
    {
        if count == 0 {
            sleep(pause).await;
        }
        (count, sum) = (count + 1, sum + row.get::<i64>("i")?);
    }
    Ok(json!([count, sum]))
}

/// As [`argument`] reads it.
fn cell(value: &SqlValue) -> Value {
    match value {
        SqlValue::Time(at) => json!({"time": since(*at)}),
        SqlValue::Decimal(digits) => json!({"decimal": digits}),
        SqlValue::Bytes(bytes) => json!({"bytes": bytes}),
        plain => plain.to_json(),
    }
}

fn moment(nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

fn since(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
}

fn main() -> ExitCode {
    rockstar_plugin::run(Commanded)
}
