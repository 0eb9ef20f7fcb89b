//! The tower layer: asks the interests, and leads what anyone listens to through an exchange.

use crate::{
    body::{Body, BoxError},
    client::Client,
    exchange::{Exchange, REACH},
    interests::{Asked, RequestPath},
};
use bytes::Bytes;
use futures::future::{BoxFuture, Either, MapOk, TryFutureExt};
use http::{Request, Response};
use hyper::body::Body as HttpBody;
use std::{
    env, mem,
    path::Path,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tower::{Layer, Service, ServiceExt};

const LIMIT: Duration = Duration::from_secs(60);

/// Leads a service's requests through the plugins.
#[derive(Clone, Debug)]
pub struct RockstarLayer {
    client: Client,
    limit: Duration,
}

impl RockstarLayer {
    /// To the sidecar that the environment names in `ROCKSTAR_SOCKET`; none if it names none.
    /// Must be called inside a tokio runtime.
    #[must_use]
    pub fn from_env() -> Option<Self> {
        env::var_os("ROCKSTAR_SOCKET").map(|socket| Self::new(Client::new(Path::new(&socket))))
    }

    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self { client, limit: LIMIT }
    }

    /// How long the plugins may hold a request before the handler, and again after it; 60 s unless set.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

impl<S> Layer<S> for RockstarLayer {
    type Service = Rockstar<S>;

    fn layer(&self, inner: S) -> Rockstar<S> {
        Rockstar { inner, client: self.client.clone(), limit: self.limit }
    }
}

/// A service behind the plugins. See [`RockstarLayer`].
#[derive(Clone, Debug)]
pub struct Rockstar<S> {
    inner: S,
    client: Client,
    limit: Duration,
}

type Passed<F, R> = MapOk<F, fn(Response<R>) -> Response<Body<R>>>;

impl<S, B, R> Service<Request<B>> for Rockstar<S>
where
    S: Service<Request<Body<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body<R>>;
    type Error = S::Error;
    type Future = Either<Passed<S::Future, R>, BoxFuture<'static, Result<Response<Body<R>>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (method, path) = (request.method(), RequestPath::new(request.uri().path()));
        let asked = self.client.knowledge().asked(method, &path, Instant::now());
        if asked == Asked::Nobody {
            let passed: fn(Response<R>) -> Response<Body<R>> = passed;
            return Either::Left(self.inner.call(request.map(Body::inner)).map_ok(passed));
        }
        // The clone is for the next request: only this one was polled ready.
        let clone = self.inner.clone();
        let service = mem::replace(&mut self.inner, clone);
        Either::Right(Box::pin(lead(self.client.clone(), self.limit, asked, request, service)))
    }
}

async fn lead<S, B, R>(
    client: Client,
    limit: Duration,
    asked: Asked,
    request: Request<B>,
    service: S,
) -> Result<Response<Body<R>>, S::Error>
where
    S: Service<Request<Body<B>>, Response = Response<R>>,
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
    R: HttpBody<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let matched = match asked {
        Asked::Somebody(matched) => Some(matched),
        Asked::Nobody | Asked::Doubtful => {
            client.sure(REACH).await;
            client.knowledge().ask(request.method(), &RequestPath::new(request.uri().path()))
        }
    };
    match matched {
        Some(matched) => Exchange { client, limit, matched }.run(request, service).await,
        None => service.oneshot(request.map(Body::inner)).await.map(passed),
    }
}

fn passed<R>(response: Response<R>) -> Response<Body<R>> {
    response.map(Body::inner)
}
