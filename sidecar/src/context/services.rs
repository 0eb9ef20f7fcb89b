//! Services: those that the plugin exports, and those of others, found, imported and called.

use super::{Context, register::check_room};
use crate::{
    ancestry::Line,
    instance::Service,
    services::{self, Client},
};
use futures::stream::{self, BoxStream, StreamExt};
use rockstar_proto::{
    CALL,
    plugin::{Invocation, Registration, Reply, Result as Outcome, registration::Kind},
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

pub(super) type Listing = BoxStream<'static, Result<Registration, Status>>;

impl Context {
    pub(super) fn export(&self, wanted: &Registration) -> Result<bool, String> {
        if wanted.name.is_empty() {
            return Err("a service must have a name".to_owned());
        }
        let declared = self.instance.manifest().exports.iter().find(|e| e.name == wanted.name);
        if declared.is_none() {
            self.warn_undeclared("exports service", &wanted.name);
        }
        let described = declared.map(|e| e.description.clone()).filter(|d| !d.is_empty());
        let service = Service {
            name: wanted.name.clone(),
            description: described.unwrap_or_else(|| wanted.description.clone()),
            handler: wanted.handler.clone(),
            order: self.instance.next_order(),
        };
        self.instance.edit(|registrations| {
            if registrations.services.iter().any(|s| s.name == service.name) {
                return Err(format!("service already exported: '{}'", service.name));
            }
            registrations.services.push(service);
            check_room(registrations)
        })
    }

    pub(super) fn imported(&self, wanted: &Invocation) -> Result<Response<Outcome>, Status> {
        let found =
            services::find(&self.framework.registry, self.client(&Line::default()), &wanted.plugin, &wanted.service);
        Ok(Response::new(Outcome { failure: found.err().map(|error| error.failure()) }))
    }

    pub(super) async fn invoked(&self, request: Request<Invocation>) -> Result<Response<Reply>, Status> {
        let line = self.line(request.metadata());
        let invocation = request.into_inner();
        let reply = services::invoke(&self.framework.registry, self.client(&line), &invocation).await;
        Ok(Response::new(Reply { id: 0, reply: Some(services::reply(reply)) }))
    }

    pub(super) fn listed(&self) -> Result<Response<Listing>, Status> {
        let all = services::list(&self.framework.registry);
        let registrations = all.into_iter().map(|offer| Registration {
            kind: Kind::Service.into(),
            name: offer.service,
            plugin: offer.plugin,
            description: offer.description,
            ..Registration::default()
        });
        Ok(Response::new(stream::iter(registrations.map(Ok).collect::<Vec<_>>()).boxed()))
    }

    fn client<'a>(&'a self, line: &'a Line) -> Client<'a> {
        Client::Plugin(&self.slot, &self.instance, line)
    }

    /// Of the plugin's running call that it asks for. The ids are its own process's, so that no other's can be meant.
    fn line(&self, metadata: &MetadataMap) -> Line {
        let call = metadata.get(CALL).and_then(|id| id.to_str().ok()?.parse().ok());
        call.and_then(|id| self.instance.link().line(id)).unwrap_or_default()
    }
}
