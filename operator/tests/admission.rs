//! Who is let in to the control stream while others crowd its door, over TLS on loopback.

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use rockstar_operator::{
        control::{
            Authenticator, Hub, Identity, IdentityError,
            identity::Membership,
            server::{TlsSource, serve_tls},
            service::ControlService,
        },
        host::{Bells, HostKey},
        leadership::Leadership,
    };
    use rockstar_proto::control::{FromInstance, Hello, ToInstance, control_client::ControlClient, from_instance};
    use std::{
        collections::BTreeSet,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };
    use tokio::{
        net::{TcpListener, TcpStream},
        sync::{mpsc, watch},
        task::JoinSet,
    };
    use tokio_util::sync::CancellationToken;
    use tonic::{
        Request, Status, Streaming,
        transport::{Certificate, ClientTlsConfig, Endpoint},
    };

    const OURS: usize = 1_000;
    const STRANGERS: usize = 200;
    const CAP: Duration = Duration::from_secs(300);

    /// Ours are `ours-N`. What strangers show is never answered for (`hangs-N`), or is a pod of no host (`foreign-N`).
    #[derive(Default)]
    struct Cluster {
        asked: AtomicUsize,
        foreign: AtomicUsize,
    }

    fn pod(token: &str) -> Identity {
        Identity { namespace: "shop".into(), pod: token.into(), uid: token.into() }
    }

    #[async_trait]
    impl Authenticator for Cluster {
        async fn identify(&self, token: &str) -> Result<Identity, IdentityError> {
            if token.starts_with("hangs") {
                self.asked.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<()>().await;
            }
            Ok(pod(token))
        }

        fn claimed(&self, token: &str) -> Option<Identity> {
            (!token.starts_with("hangs")).then(|| pod(token))
        }
    }

    impl Membership for Cluster {
        fn host_of(&self, pod: &Identity) -> Option<HostKey> {
            if pod.pod.starts_with("foreign") {
                self.foreign.fetch_add(1, Ordering::Relaxed);
            }
            pod.pod.starts_with("ours").then(host)
        }
    }

    fn host() -> HostKey {
        HostKey::new("shop", "storefront")
    }

    fn tls() -> (TlsSource, String) {
        let made = rcgen::generate_simple_self_signed(["operator.test".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let config = Arc::new(config);
        (Arc::new(move || Arc::clone(&config)), made.cert.pem())
    }

    /// Keeps its stream open as long as it lives.
    type Talk = (Streaming<ToInstance>, mpsc::Sender<FromInstance>);

    async fn attach(endpoint: Endpoint, token: String) -> Result<Talk, Status> {
        let channel = endpoint.connect().await.map_err(|e| Status::unavailable(e.to_string()))?;
        let (say, said) = mpsc::channel(1);
        let hello = FromInstance { message: Some(from_instance::Message::Hello(Hello::default())) };
        say.send(hello).await.map_err(|_| Status::internal("closed"))?;
        let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(said));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        Ok((ControlClient::new(channel).attach(request).await?.into_inner(), say))
    }

    async fn eventually(what: &str, holds: impl Fn() -> bool) {
        let met = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(CAP, met).await.is_ok(), "never: {what}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn strangers_delay_nobody() {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let (cluster, hub) = (Arc::new(Cluster::default()), Hub::new(Bells::default()));
        let (_leadership, leading) = watch::channel(Leadership::Leading);
        let service =
            ControlService::new(Arc::clone(&hub), Arc::clone(&cluster) as _, Arc::clone(&cluster) as _, leading);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (source, certificate) = tls();
        let server = tokio::spawn(serve_tls(service, listener, source, CancellationToken::new()));
        let trusted =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(certificate)).domain_name("operator.test");
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}")).unwrap().tls_config(trusted).unwrap();

        // They hold connections open and say nothing.
        let mut silent = Vec::new();
        for _ in 0..STRANGERS {
            silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        }
        // They show tokens, and come again whenever they are refused.
        let mut strangers = JoinSet::new();
        for n in 0..STRANGERS {
            let (endpoint, kind) = (endpoint.clone(), if n % 2 == 0 { "hangs" } else { "foreign" });
            strangers.spawn(async move {
                loop {
                    assert!(attach(endpoint.clone(), format!("{kind}-{n}")).await.is_err(), "a stranger was let in");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
        eventually("strangers crowd the door", || {
            cluster.asked.load(Ordering::Relaxed) > 0 && cluster.foreign.load(Ordering::Relaxed) >= STRANGERS / 2
        })
        .await;

        let mut ours = JoinSet::new();
        for n in 0..OURS {
            let endpoint = endpoint.clone();
            ours.spawn(async move { attach(endpoint, format!("ours-{n}")).await });
        }
        let mut talks = Vec::new();
        while let Some(attached) = ours.join_next().await {
            talks.push(attached.unwrap().unwrap());
        }
        eventually("all of ours are in", || hub.streams() == OURS).await;
        let pods: BTreeSet<String> = hub.attached(&host()).into_iter().map(|a| a.pod).collect();
        assert_eq!((talks.len(), pods.len()), (OURS, OURS));
        assert!(pods.iter().all(|pod| pod.starts_with("ours")));
        assert!(strangers.try_join_next().is_none(), "strangers are still at the door");
        assert_eq!(silent.len(), STRANGERS);
        server.abort();
    }
}
