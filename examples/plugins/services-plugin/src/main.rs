//! Services: exports `UserService` for other plugins and the application, and calls `Visits` of database-plugin if that is
//! there.

use rockstar_plugin::{Plugin, PluginContext, Result, Service, Value, async_trait, json};

struct Services;

#[async_trait]
impl Plugin for Services {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let context = ctx.clone();
        let users = Service::new()
            .method("GetUser", |id: i64| async move { user(id) })
            .method("GetVisits", move |id: i64| visits(context.clone(), id));
        ctx.export_service("UserService", users).await?;
        Ok(())
    }
}

fn user(id: i64) -> Result<Value> {
    match id {
        123 => Ok(json!({"id": id, "username": "john"})),
        _ => Err(format!("no such user: {id}").into()),
    }
}

/// How often the user's page was seen. Imported at each call: the other plugin may come and go.
async fn visits(ctx: PluginContext, id: i64) -> Result<i64> {
    let visits = ctx.import_service("database-plugin", "Visits").await?;
    Ok(visits.call("Count", format!("/users/{id}")).await?)
}

fn main() -> std::process::ExitCode {
    rockstar_plugin::run(Services)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_plugin::testing::MockPluginContext;

    async fn initialized(mock: MockPluginContext) -> MockPluginContext {
        Services.initialize(mock.context()).await.unwrap();
        mock
    }

    #[tokio::test]
    async fn users_are_found_by_id() {
        let mock = initialized(MockPluginContext::new()).await;
        assert_eq!(mock.services()[0].name, "UserService");
        assert_eq!(mock.invoke("UserService", "GetUser", 123).await.unwrap()["username"], "john");
        let error = mock.invoke("UserService", "GetUser", 7).await.unwrap_err();
        assert_eq!(error.to_string(), "no such user: 7");
    }

    #[tokio::test]
    async fn visits_are_asked_of_database_plugin() {
        let mock = MockPluginContext::new().with_service("database-plugin", "Visits", |method, path| {
            assert_eq!((method, path), ("Count", json!("/users/123")));
            Ok(json!(2))
        });
        let mock = initialized(mock).await;
        assert_eq!(mock.invoke("UserService", "GetVisits", 123).await.unwrap(), 2);
        let alone = initialized(MockPluginContext::new()).await;
        let error = alone.invoke("UserService", "GetVisits", 123).await.unwrap_err();
        assert_eq!(error.to_string(), "service not found: plugin 'database-plugin' does not export 'Visits'");
    }
}
