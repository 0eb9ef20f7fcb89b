//! Routes: paths of the application that the plugin answers itself. Needs the permission `router`.

use crate::{Context, HostError, PluginContext, Result, handlers::Handler};
use rockstar_proto::{
    plugin::{BodyNeed, Registration, registration::Kind, reply::Reply},
    types::{Change, Response},
};
use std::{fmt, future::Future, sync::Arc};

/// Registers routes. A path is fixed (`/api/status`), or has parameters: `:name` for one segment, a last `*name` for the
/// rest; [`Context::param`] gives them. A HEAD that no plugin serves is served as GET.
///
/// ```
/// # use rockstar_plugin::{Result, json, testing::{MockPluginContext, Request}};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result {
/// # let mock = MockPluginContext::new();
/// # let ctx = mock.context();
/// let router = ctx.router();
/// router.get("/api/users/:id", |c| async move {
///     c.json(200, &json!({"id": c.param("id")}));
///     Ok(())
/// }).await?;
/// # let outcome = mock.request(Request::get("/api/users/7")).await;
/// # assert_eq!((outcome.status(), outcome.json()), (Some(200), json!({"id": "7"})));
/// # Ok(())
/// # }
/// ```
///
/// A handler that answers nothing answers 200. An error is 500 to the client; its text stays in log and metrics.
/// Handlers see request bodies up to 64 KiB of known length; the client of a larger one gets 413. Routes that
/// [`stream`](Router::stream) registers read bodies of any size. Responses may be of any size.
#[derive(Clone)]
pub struct Router(PluginContext);

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Router").finish()
    }
}

macro_rules! methods {
    ($($name:ident $method:literal)*) => {$(
        #[doc = concat!("Serves ", $method, " requests of that path.")]
        pub async fn $name<F, R>(&self, path: &str, handler: F) -> Result<(), HostError>
        where
            F: Fn(Context) -> R + Send + Sync + 'static,
            R: Future<Output = Result> + Send + 'static,
        {
            self.route($method, path, handler).await
        }
    )*};
}

impl Router {
    pub(crate) const fn new(ctx: PluginContext) -> Self {
        Self(ctx)
    }

    methods! {
        get "GET"
        post "POST"
        put "PUT"
        patch "PATCH"
        delete "DELETE"
        head "HEAD"
        options "OPTIONS"
    }

    /// Serves requests of that method and path.
    pub async fn route<F, R>(&self, method: &str, path: &str, handler: F) -> Result<(), HostError>
    where
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + Send + 'static,
    {
        self.register(method, path, BodyNeed::Whole, handler).await
    }

    /// The same; the handler reads the body as it comes, by [`Context::body_stream`], whatever its size is.
    ///
    /// ```
    /// # use rockstar_plugin::{Plugin, PluginContext, Result, async_trait, json};
    /// # use rockstar_plugin::testing::{MockPluginContext, Request};
    /// # struct Sizes;
    /// # #[async_trait]
    /// # impl Plugin for Sizes {
    /// # async fn initialize(&mut self, ctx: PluginContext) -> Result {
    /// ctx.router().stream("PUT", "/files/:name", |c| async move {
    ///     let (mut body, mut size) = (c.body_stream(), 0);
    ///     while let Some(piece) = body.next().await {
    ///         size += piece?.len();
    ///     }
    ///     c.json(201, &json!({"size": size}));
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result {
    /// # let mock = MockPluginContext::new();
    /// # Sizes.initialize(mock.context()).await?;
    /// # let outcome = mock.request(Request::new("PUT", "/files/a").body("x".repeat(100_000))).await;
    /// # assert_eq!((outcome.status(), outcome.json()), (Some(201), json!({"size": 100_000})));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stream<F, R>(&self, method: &str, path: &str, handler: F) -> Result<(), HostError>
    where
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + Send + 'static,
    {
        self.register(method, path, BodyNeed::Stream, handler).await
    }

    async fn register<F, R>(&self, method: &str, path: &str, body: BodyNeed, handler: F) -> Result<(), HostError>
    where
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + Send + 'static,
    {
        let handler = Handler::Route(Arc::new(move |ctx| Box::pin(handler(ctx))));
        let registration = Registration {
            kind: Kind::Route.into(),
            handler: self.0.keep(&format!("route:{method} {path}"), handler),
            method: method.into(),
            routes: vec![path.into()],
            body: body.into(),
            ..Registration::default()
        };
        self.0.register_handler(registration).await
    }
}

/// The response as a change of an empty one, so that values go with it.
pub(crate) fn reply(ctx: &Context) -> Reply {
    let outcome = ctx.take();
    let mut change = outcome.change;
    if let Some(answer) = outcome.answer {
        answer_with(&mut change, answer);
    }
    Reply::Change(change)
}

fn answer_with(change: &mut Change, answer: Response) {
    for header in answer.headers {
        let known = change.set.iter().any(|h| h.name == header.name);
        if known { change.add.push(header) } else { change.set.push(header) }
    }
    change.status = Some(answer.status);
    change.body = answer.body;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use rockstar_proto::{plugin::Call, types::body::Body};

    #[tokio::test]
    async fn an_answer_goes_with_values_and_headers() {
        let ctx = Context::new(Call::default(), &PluginContext::new(Host::new("none".into())));
        ctx.set("user", 7);
        ctx.set_header("x-a", "1");
        ctx.json(201, &["a"]);
        let Reply::Change(change) = reply(&ctx) else { panic!("no change") };
        assert_eq!((change.status, change.values[0].key.as_str()), (Some(201), "user"));
        let names: Vec<_> = change.set.iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, ["x-a", "content-type"]);
        assert_eq!(change.body.unwrap().body, Some(Body::Whole(r#"["a"]"#.into())));
    }
}
