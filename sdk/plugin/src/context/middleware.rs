//! Registering middleware.

use super::PluginContext;
use crate::{Context, HostError, Next, Result, handlers::Handler, middleware::Middleware};
use rockstar_proto::plugin::{BodyNeed, Registration, registration::Kind};
use std::{future::Future, sync::Arc};

impl PluginContext {
    /// Runs the function around the handlers of all requests, or of those whose path one of `routes` covers: a path, or a
    /// path with `/*` at its end for it and all below. The name is unique in the plugin.
    ///
    /// ```
    /// # use rockstar_plugin::{Result, json, testing::{MockPluginContext, Request, Response}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result {
    /// # let mock = MockPluginContext::new();
    /// # let ctx = mock.context();
    /// ctx.register_middleware("auth", |ctx, next| async move {
    ///     if ctx.get_header("authorization").is_none() {
    ///         ctx.json(401, &json!({"error": "unauthorized"}));
    ///         return Ok(());
    ///     }
    ///     ctx.set("user", "ann");
    ///     next.run(&ctx).await?;
    ///     ctx.set_header("x-status", ctx.status().unwrap_or_default().to_string());
    ///     Ok(())
    /// }, 200, &["/admin/*"]).await?;
    /// # assert_eq!(mock.request(Request::get("/admin/users")).await.status(), Some(401));
    /// # let request = Request::get("/admin/users").header("authorization", "Bearer x");
    /// # let outcome = mock.request_with(request, |_| Response::new(201)).await;
    /// # assert_eq!((outcome.header("x-status"), &outcome.values()["user"]), (Some("201"), &json!("ann")));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn register_middleware<F, R>(
        &self,
        name: &str,
        handler: F,
        priority: i32,
        routes: &[&str],
    ) -> Result<(), HostError>
    where
        F: Fn(Context, Next) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + Send + 'static,
    {
        let handler = around(name, handler);
        self.register_handler(self.middleware(name, handler, priority, routes, BodyNeed::None)).await
    }

    /// The same, and the function sees the bodies of request and response, up to 64 KiB each.
    pub async fn register_middleware_with_body<F, R>(
        &self,
        name: &str,
        handler: F,
        priority: i32,
        routes: &[&str],
    ) -> Result<(), HostError>
    where
        F: Fn(Context, Next) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + Send + 'static,
    {
        let handler = around(name, handler);
        self.register_handler(self.middleware(name, handler, priority, routes, BodyNeed::Whole)).await
    }

    /// Middleware that only looks at requests: it answers, or lets the request go on, and does not hear of the response.
    /// Cheaper than one that does.
    pub async fn register_request_middleware<F, R>(
        &self,
        name: &str,
        handler: F,
        priority: i32,
        routes: &[&str],
    ) -> Result<(), HostError>
    where
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + Send + 'static,
    {
        let handler = Handler::RequestOnly(name.to_owned(), Arc::new(move |ctx| Box::pin(handler(ctx))));
        let registration = self.middleware(name, handler, priority, routes, BodyNeed::None);
        self.register_handler(Registration { request_only: true, ..registration }).await
    }

    /// Removes the middleware of that name. Requests that are in their handlers come back to it still.
    pub async fn unregister_middleware(&self, name: &str) -> Result<(), HostError> {
        let registration =
            Registration { kind: Kind::Middleware.into(), name: name.to_owned(), ..Registration::default() };
        self.0.host.unregister(registration).await?;
        self.0.handlers.retire_middleware(name);
        Ok(())
    }

    fn middleware(&self, name: &str, handler: Handler, priority: i32, routes: &[&str], body: BodyNeed) -> Registration {
        Registration {
            kind: Kind::Middleware.into(),
            name: name.to_owned(),
            handler: self.keep(&format!("middleware:{name}"), handler),
            priority: Some(priority),
            routes: routes.iter().map(ToString::to_string).collect(),
            body: body.into(),
            ..Registration::default()
        }
    }
}

fn around<F, R>(name: &str, handler: F) -> Handler
where
    F: Fn(Context, Next) -> R + Send + Sync + 'static,
    R: Future<Output = Result> + Send + 'static,
{
    let handler = Middleware::new(name, Arc::new(move |ctx, next| Box::pin(handler(ctx, next))));
    Handler::Middleware(Arc::new(handler))
}
