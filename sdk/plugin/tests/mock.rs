//! The host in memory: what a plugin's own tests can see and do.

#![allow(clippy::unwrap_used, clippy::panic)]

use rockstar_plugin::{
    HookType, Plugin, PluginConfig, PluginContext, Result, async_trait, json,
    testing::{MockPluginContext, Registered, Request, Response},
};

#[derive(Default)]
struct Guard {
    ctx: Option<PluginContext>,
}

#[async_trait]
impl Plugin for Guard {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let config = ctx.plugin_config();
        config.required("api_key")?;
        let logger = ctx.logger();
        ctx.register_hook(HookType::PreRequest, 200, {
            let ctx = ctx.clone();
            move |hook| {
                let (ctx, logger) = (ctx.clone(), logger.clone());
                async move {
                    let key = ctx.plugin_config().required("api_key")?.to_owned();
                    let request = hook.context();
                    match request.get_header("x-api-key") {
                        Some(given) if given == key => {
                            logger.with_fields([("path", json!(request.path()))]).info("passed");
                            request.set("user", request.get("name").unwrap_or_else(|| json!("ann")));
                            request.set_header("x-seen", "1");
                        }
                        Some("") => return Err("no key at all".into()),
                        _ => request.json(401, &json!({"error": "unauthorized"})),
                    }
                    Ok(())
                }
            }
        })
        .await?;
        ctx.register_hook(HookType::PreResponse, 100, |hook| async move {
            hook.context().set_header("x-guard", "1");
            Ok(())
        })
        .await?;
        ctx.register_hook(HookType::Startup, 100, {
            let logger = ctx.logger();
            move |_| {
                logger.warn("starting");
                async { Ok(()) }
            }
        })
        .await?;
        ctx.register_hook(HookType::Error, 100, |hook| async move {
            let failure = hook.failure().ok_or("no failure")?;
            hook.context().set_header("x-failed", format!("{}: {}", failure.plugin, failure.text));
            Ok(())
        })
        .await?;
        self.ctx = Some(ctx);
        Ok(())
    }

    async fn on_config_change(&mut self, config: PluginConfig) -> Result {
        config.required("api_key")?;
        Ok(())
    }
}

async fn initialized() -> (MockPluginContext, Guard) {
    let mock = MockPluginContext::new().with_config(json!({"api_key": "test-key"}));
    let mut guard = Guard::default();
    guard.initialize(mock.context()).await.unwrap();
    (mock, guard)
}

#[tokio::test]
async fn initialize_needs_its_configuration() {
    let error = Guard::default().initialize(MockPluginContext::new().context()).await.unwrap_err();
    assert_eq!(error.to_string(), "api_key is required");
    let (mock, _guard) = initialized().await;
    let first = Registered { name: "pre_request".into(), priority: 200, routes: Vec::new() };
    assert_eq!((mock.hooks().len(), &mock.hooks()[0]), (4, &first));
}

#[tokio::test]
async fn a_manifest_gives_defaults_that_values_replace() {
    let manifest = "name: guard\nversion: 1.0.0\npermissions: {cache: true, database: false}\n\
        config: {api_key: {type: string, default: given}, ttl: {type: duration, default: 1h}}";
    let mock = MockPluginContext::new().with_manifest(manifest).with_config(json!({"api_key": "own"}));
    let config = mock.context().plugin_config();
    assert_eq!((config.string("api_key"), config.string("ttl")), (Some("own"), Some("1h")));
}

#[tokio::test]
async fn a_request_goes_through_the_hooks() {
    let (mock, _guard) = initialized().await;
    let answered = mock.pre_request(Request::get("/x")).await;
    assert_eq!((answered.status(), answered.json()), (Some(401), json!({"error": "unauthorized"})));
    let passed = mock.pre_request(Request::get("/x").header("X-Api-Key", "test-key").value("name", "bob")).await;
    assert_eq!((passed.status(), passed.request.get_header("x-seen")), (None, Some("1")));
    assert_eq!((passed.values()["user"].clone(), passed.errors.len()), (json!("bob"), 0));
    let failed = mock.pre_request(Request::get("/x").header("x-api-key", "")).await;
    assert_eq!(failed.errors, ["no key at all"]);
    let logs = mock.logs().await;
    assert_eq!((logs.len(), logs[0].text.as_str(), logs[0].level.as_str()), (1, "passed", "info"));
    assert_eq!(logs[0].fields["path"], "/x");
}

#[tokio::test]
async fn the_whole_way_reaches_the_application_and_comes_back() {
    let (mock, _guard) = initialized().await;
    let request = Request::get("/x?a=1").header("x-api-key", "test-key");
    let outcome = mock
        .request_with(request, |request| {
            assert_eq!(request.get_header("x-seen"), Some("1"));
            Response::new(201).body("made")
        })
        .await;
    assert_eq!((outcome.status(), outcome.header("x-guard")), (Some(201), Some("1")));
    assert_eq!(outcome.response.unwrap().get_body(), b"made");
    let refused = mock.request_with(Request::get("/"), |_| panic!("must not be reached")).await;
    assert_eq!((refused.status(), refused.header("x-guard")), (Some(401), Some("1")));
}

#[tokio::test]
async fn error_hooks_shape_the_response() {
    let (mock, _guard) = initialized().await;
    let outcome = mock.error(Request::get("/"), "other", "broken", Response::new(500)).await;
    assert_eq!((outcome.status(), outcome.header("x-failed")), (Some(500), Some("other: broken")));
}

#[tokio::test]
async fn a_changed_configuration_may_be_refused() {
    let (mock, mut guard) = initialized().await;
    let refused = mock.change_config(&mut guard, json!({})).await.unwrap_err();
    assert_eq!(refused.to_string(), "api_key is required");
    assert_eq!(mock.context().plugin_config().string("api_key"), Some("test-key"));
    mock.change_config(&mut guard, json!({"api_key": "new"})).await.unwrap();
    let outcome = mock.pre_request(Request::get("/").header("x-api-key", "new")).await;
    assert_eq!(outcome.status(), None);
}

#[tokio::test]
async fn startup_hooks_run_when_told() {
    let (mock, _guard) = initialized().await;
    mock.startup().await.unwrap();
    mock.shutdown().await.unwrap();
    let logs = mock.logs().await;
    assert_eq!((logs.len(), logs[0].text.as_str(), logs[0].level.as_str()), (1, "starting", "warn"));
}
