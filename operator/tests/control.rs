//! The control stream from outside: who is let in, and what happens when the lease is elsewhere.

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use hyper_util::rt::TokioIo;
    use rockstar_operator::{
        control::{
            Authenticator, Hub, Identity, IdentityError, Publication,
            identity::Membership,
            server::{bind_unix, serve_unix},
            service::ControlService,
        },
        host::{Bells, HostKey},
        leadership::Leadership,
    };
    use rockstar_proto::control::{
        FromInstance, Hello, Report, ToInstance, control_client::ControlClient, from_instance, to_instance,
    };
    use std::{path::PathBuf, sync::Arc, time::Duration};
    use tempfile::TempDir;
    use tokio::{net::UnixStream, sync::watch, task::JoinHandle};
    use tokio_util::sync::CancellationToken;
    use tonic::{Code, Request, Status, Streaming, transport::Endpoint};

    struct OnePod;

    #[async_trait]
    impl Authenticator for OnePod {
        async fn identify(&self, token: &str) -> Result<Identity, IdentityError> {
            match token {
                "right" => Ok(Identity { namespace: "shop".into(), pod: "web".into(), uid: "u".into() }),
                _ => Err(IdentityError::Refused("unknown".into())),
            }
        }
    }

    impl Membership for OnePod {
        fn host_of(&self, _: &Identity) -> Option<HostKey> {
            Some(HostKey::new("shop", "storefront"))
        }
    }

    struct Scene {
        dir: TempDir,
        hub: Arc<Hub>,
        leadership: watch::Sender<Leadership>,
        server: JoinHandle<()>,
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            self.server.abort();
        }
    }

    fn following() -> Leadership {
        Leadership::Following { address: "10.0.0.7:9443".into() }
    }

    fn serve(leadership: Leadership) -> Scene {
        let dir = TempDir::new().unwrap();
        let hub = Hub::new(Bells::default());
        let (sender, receiver) = watch::channel(leadership);
        let service = ControlService::new(Arc::clone(&hub), Arc::new(OnePod), Arc::new(OnePod), receiver);
        let listener = bind_unix(&dir.path().join("s")).unwrap();
        let server =
            tokio::spawn(async move { serve_unix(service, listener, CancellationToken::new()).await.unwrap() });
        Scene { dir, hub, leadership: sender, server }
    }

    /// The stream, and the open end of what is said.
    type Talk = (Streaming<ToInstance>, tokio::sync::mpsc::Sender<FromInstance>);

    impl Scene {
        async fn attach(&self, token: &str, first: from_instance::Message) -> Result<Talk, Status> {
            let path: PathBuf = self.dir.path().join("s");
            let connect = tower::service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            let channel = Endpoint::from_static("http://localhost").connect_with_connector(connect).await.unwrap();
            let (say, said) = tokio::sync::mpsc::channel(4);
            say.send(FromInstance { message: Some(first) }).await.unwrap();
            let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(said));
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
            Ok((ControlClient::new(channel).attach(request).await?.into_inner(), say))
        }
    }

    fn hello() -> from_instance::Message {
        from_instance::Message::Hello(Hello::default())
    }

    fn moved(message: Option<ToInstance>) -> String {
        match message.and_then(|m| m.message) {
            Some(to_instance::Message::Moved(moved)) => moved.address,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_follower_sends_instances_to_the_leader() {
        let scene = serve(following());
        let (mut heard, _say) = scene.attach("right", hello()).await.unwrap();
        assert_eq!(moved(heard.message().await.unwrap()), "10.0.0.7:9443");
        assert!(heard.message().await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn c14_while_nobody_leads_the_answer_is_held_back() {
        let nobody = || Leadership::Following { address: String::new() };
        let scene = serve(nobody());
        let asked = tokio::time::Instant::now();
        let (mut heard, _say) = scene.attach("right", hello()).await.unwrap();
        assert_eq!(moved(heard.message().await.unwrap()), "");
        assert!(asked.elapsed() >= Duration::from_secs(5), "10 000 sidecars would ask again at once");
        let found = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            scene.leadership.send_replace(following());
        };
        let (talk, ()) = tokio::join!(scene.attach("right", hello()), found);
        assert_eq!(
            moved(talk.unwrap().0.message().await.unwrap()),
            "10.0.0.7:9443",
            "the answer comes with the leader"
        );
    }

    #[tokio::test]
    async fn streams_end_when_the_lease_lapses() {
        let scene = serve(Leadership::Leading);
        let (mut heard, _say) = scene.attach("right", hello()).await.unwrap();
        let publication = Arc::new(Publication { plan_generation: 3, ..Publication::default() });
        let host = HostKey::new("shop", "storefront");
        while scene.hub.attached(&host).is_empty() {
            tokio::task::yield_now().await;
        }
        scene.hub.publish(&host, "u", &publication);
        let first = heard.message().await.unwrap().and_then(|m| m.message);
        assert!(matches!(first, Some(to_instance::Message::Snapshot(s)) if s.plan_generation == 3));
        scene.leadership.send_replace(following());
        assert_eq!(moved(heard.message().await.unwrap()), "10.0.0.7:9443");
        assert!(heard.message().await.unwrap().is_none());
        assert!(scene.hub.attached(&host).is_empty());
    }

    #[tokio::test]
    async fn strangers_and_the_impolite_are_refused() {
        let scene = serve(Leadership::Leading);
        let refused = scene.attach("wrong", hello()).await.err().unwrap();
        assert_eq!((refused.code(), refused.message()), (Code::Unauthenticated, "the token was refused: unknown"));
        let report = from_instance::Message::Report(Report::default());
        let (mut heard, _say) = scene.attach("right", report).await.unwrap();
        assert_eq!(heard.message().await.unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(scene.hub.streams(), 0);
    }
}
