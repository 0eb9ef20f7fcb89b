//! The driver over a real API server: kube-apiserver and etcd, without nodes. Needs their programs in the folder that
//! ROCKSTAR_KUBE_BIN names; without it nothing is tested here. Instances attach over TLS with tokens of real pods.

#[cfg(test)]
mod api_server;
#[cfg(test)]
#[path = "../directory/instance.rs"]
mod instance;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod story;
