//! Services of other plugins: found, imported, called.

use super::{Context, absent};
use futures::stream::BoxStream;
use rockstar_proto::plugin::{Invocation, Registration, Reply, Result as Outcome};
use tonic::{Request, Response, Status};

pub(super) type Listing = BoxStream<'static, Result<Registration, Status>>;

impl Context {
    pub(super) fn imported(&self, _: &Invocation) -> Result<Response<Outcome>, Status> {
        absent("Import")
    }

    pub(super) async fn invoked(&self, _: Request<Invocation>) -> Result<Response<Reply>, Status> {
        absent("Invoke")
    }

    pub(super) fn listed(&self) -> Result<Response<Listing>, Status> {
        absent("Services")
    }
}
