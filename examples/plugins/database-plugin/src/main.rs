//! Database: makes its table at the start, counts requests by path in a transaction, and tells others by its service
//! `Visits`. The SQL is the same on SQLite and PostgreSQL.

use rockstar_plugin::{HookType, Plugin, PluginContext, Result, Service, async_trait, params};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS visits (path TEXT PRIMARY KEY, number BIGINT NOT NULL)";
const NUMBER: &str = "SELECT number FROM visits WHERE path = ?";

struct Visits;

#[async_trait]
impl Plugin for Visits {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let database = ctx.database();
        ctx.register_hook(HookType::Startup, 100, move |_| {
            let database = database.clone();
            async move {
                database.exec(TABLE, params![]).await?;
                Ok(())
            }
        })
        .await?;
        let context = ctx.clone();
        ctx.register_hook(HookType::PostResponse, 100, move |hook| {
            let (ctx, path) = (context.clone(), hook.context().normal_path().to_owned());
            async move { count(&ctx, &path).await }
        })
        .await?;
        let context = ctx.clone();
        let visits = Service::new().method("Count", move |path: String| visits(context.clone(), path));
        ctx.export_service("Visits", visits).await?;
        Ok(())
    }
}

/// All of it or, if anything fails, nothing: a transaction that is dropped is rolled back.
async fn count(ctx: &PluginContext, path: &str) -> Result {
    let mut tx = ctx.database().begin().await?;
    let changed = tx.exec("UPDATE visits SET number = number + 1 WHERE path = ?", params![path]).await?;
    if changed.rows_affected == 0 {
        tx.exec("INSERT INTO visits (path, number) VALUES (?, 1)", params![path]).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn visits(ctx: PluginContext, path: String) -> Result<i64> {
    let rows = ctx.database().query(NUMBER, params![path]).await?;
    Ok(rows.first().map_or(Ok(0), |row| row.get("number"))?)
}

fn main() -> std::process::ExitCode {
    rockstar_plugin::run(Visits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_plugin::{
        json,
        testing::{MockPluginContext, Request, Response},
    };

    #[tokio::test]
    async fn a_request_is_counted_in_a_transaction() {
        let mock = MockPluginContext::new().with_manifest(include_str!("../plugin.yaml"));
        Visits.initialize(mock.context()).await.unwrap();
        mock.startup().await.unwrap();
        mock.hook(HookType::PostResponse, Request::get("/shop"), Response::new(200)).await;
        let sql: Vec<_> = mock.statements().into_iter().map(|statement| statement.sql).collect();
        let update = "UPDATE visits SET number = number + 1 WHERE path = ?";
        assert_eq!(sql, [TABLE, "BEGIN", update, "COMMIT"]);
        assert_eq!(mock.statements()[2].arguments, ["/shop"]);
    }

    #[tokio::test]
    async fn others_are_told_the_number() {
        for (rows, number) in [(vec![[json!(3)]], 3), (vec![], 0)] {
            let mock = MockPluginContext::new().with_rows(NUMBER, ["number"], rows);
            Visits.initialize(mock.context()).await.unwrap();
            assert_eq!(mock.invoke("Visits", "Count", "/shop").await.unwrap(), number);
        }
    }
}
