//! A plugin that takes and gives bodies of any size.
//!
//! `POST /upload` counts, `/stalled` reads the first piece and no more, `/ignored` reads nothing, `/small` takes what fits
//! into a message; `GET /large/SIZE` gives bytes at once, `/stream/SIZE` piece by piece, `/broken/SIZE` the first of them,
//! `/header/SIZE` a header of that size.
//! The response to `/replaced/SIZE` is replaced.

use rockstar_plugin::{Context, HookContext, HookType, Plugin, PluginContext, Result, async_trait, json};
use std::{future::pending, io, process::ExitCode};

const PIECE: usize = 50_000;

struct Porter;

#[async_trait]
impl Plugin for Porter {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let router = ctx.router();
        let (log, later) = (ctx.clone(), ctx.clone());
        router.stream("POST", "/upload", move |c| upload(log.clone(), c)).await?;
        router.stream("POST", "/stalled", stalled).await?;
        router.stream("POST", "/ignored", ignored).await?;
        router.post("/small", small).await?;
        router.get("/large/:size", large).await?;
        router.get("/header/:size", header).await?;
        router.get("/stream/:size", |c| async move { streamed(&c, None) }).await?;
        router.get("/broken/:size", |c| async move { streamed(&c, Some(io::Error::other("as asked"))) }).await?;
        ctx.register_hook(HookType::PreResponse, 100, replaced).await?;
        ctx.register_hook(HookType::PostResponse, 100, move |hook| written(later.clone(), hook)).await?;
        Ok(())
    }
}

async fn upload(plugin: PluginContext, c: Context) -> Result {
    let given_up = GivenUp(Some(plugin));
    let (mut body, mut size, mut sum) = (c.body_stream(), 0, 0);
    while let Some(piece) = body.next().await {
        let piece = piece?;
        size += piece.len();
        sum = piece.iter().fold(sum, |sum: u64, byte| sum + u64::from(*byte));
    }
    c.json(200, &json!({"size": size, "sum": sum}));
    given_up.not();
    Ok(())
}

/// Tells in the log that a handler did not come to its end.
struct GivenUp(Option<PluginContext>);

impl GivenUp {
    fn not(mut self) {
        self.0 = None;
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Some(plugin) = &self.0 {
            plugin.logger().info("upload given up");
        }
    }
}

async fn stalled(c: Context) -> Result {
    c.body_stream().next().await;
    pending().await
}

async fn ignored(c: Context) -> Result {
    c.json(403, &json!({"error": "not that"}));
    Ok(())
}

async fn small(c: Context) -> Result {
    c.json(200, &json!({"size": c.body().map(|body| body.len())}));
    Ok(())
}

fn size(c: &Context) -> Result<usize> {
    Ok(c.path().rsplit('/').next().unwrap_or_default().parse()?)
}

async fn large(c: Context) -> Result {
    c.respond(200, &[("content-type", "text/plain")], "x".repeat(size(&c)?));
    Ok(())
}

async fn header(c: Context) -> Result {
    c.respond(200, &[("x-large", &"x".repeat(size(&c)?))], "");
    Ok(())
}

fn streamed(c: &Context, error: Option<io::Error>) -> Result {
    let size = size(c)?;
    let all = (0..size / PIECE).map(|_| PIECE).chain([size % PIECE]).map(|count| Ok("x".repeat(count)));
    c.respond_stream(200, &[("content-type", "text/plain")], tokio_stream::iter(all.chain(error.map(Err))), None);
    Ok(())
}

async fn replaced(hook: HookContext) -> Result {
    let c = hook.context();
    if c.path().starts_with("/replaced/") {
        c.set_body("x".repeat(size(c)?));
    }
    Ok(())
}

async fn written(plugin: PluginContext, hook: HookContext) -> Result {
    plugin.logger().info(format!("written: {}", hook.context().path()));
    Ok(())
}

fn main() -> ExitCode {
    rockstar_plugin::run(Porter)
}
