//! Database: makes its table at the start, and counts requests by path in a transaction. The SQL is the same on SQLite and
//! PostgreSQL.

use rockstar_plugin::{HookType, Plugin, PluginContext, Result, async_trait, params};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS visits (path TEXT PRIMARY KEY, number BIGINT NOT NULL)";

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

fn main() -> std::process::ExitCode {
    rockstar_plugin::run(Visits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_plugin::testing::{MockPluginContext, Request, Response};

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
}
