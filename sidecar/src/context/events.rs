//! Events that the plugin publishes.

use super::{Context, absent};
use rockstar_proto::plugin::{Event, Result as Outcome};
use tonic::{Response, Status};

impl Context {
    pub(super) async fn published(&self, _: Event) -> Result<Response<Outcome>, Status> {
        absent("Publish")
    }
}
