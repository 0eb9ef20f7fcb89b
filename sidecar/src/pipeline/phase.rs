//! The hooks of one type, or all middleware on its way in, in their order, for one exchange: each let in by its plugin's
//! gate, each isolated from the others. Calls plugins.

use super::{
    Pipeline,
    call::{self, Lost},
    exchange::Exchange,
    parked::Parked,
    point::Moment,
    table::{Entry, Phase, Target},
};
use crate::slot::Pass;
use rockstar_proto::plugin::reply::Reply;

impl Pipeline {
    /// Runs the phase. What the plugins decide, and what fails, is kept in the exchange.
    pub(super) async fn phase(&self, phase: Phase, exchange: &mut Exchange) {
        let table = self.table();
        // Plugins whose version changed since the table was made, and that have had all their turns.
        let mut moved: Vec<&str> = Vec::new();
        for entry in table.of(phase) {
            if exchange.is_over(phase) {
                break;
            }
            if exchange.is_late() {
                if entry.target.point().moment() != Moment::Aside {
                    call::late(exchange);
                }
                break;
            }
            if entry.target.listens_to(exchange.readings()) && self.entry(phase, entry, exchange, &moved).await {
                moved.push(entry.slot.name());
            }
        }
    }

    /// True: that plugin has had all its turns.
    async fn entry(&self, phase: Phase, entry: &Entry, exchange: &mut Exchange, moved: &[&str]) -> bool {
        let mut retried = false;
        loop {
            let pass = match entry.slot.enter_in_turn(exchange.caller(&entry.slot)).await {
                Ok(pass) => pass,
                Err(refusal) => {
                    call::refused(entry.target.point(), &entry.slot, &refusal, exchange);
                    return false;
                }
            };
            let same = pass.instance().generation() == entry.generation;
            if !same && moved.contains(&entry.slot.name()) {
                return false;
            }
            let registrations = pass.instance().registrations();
            let targets = if same { vec![entry.target.clone()] } else { phase.of(&registrations) };
            match self.targets(phase, &pass, &targets, exchange).await {
                Err(Lost) if !retried => retried = true,
                _ => return !same,
            }
        }
    }

    /// What runs of one plugin; ends early if the plugin is gone and its version before comes back.
    async fn targets(
        &self,
        phase: Phase,
        pass: &Pass,
        targets: &[Target],
        exchange: &mut Exchange,
    ) -> Result<(), Lost> {
        for target in targets {
            if target.listens_to(exchange.readings()) {
                self.target(pass, target, exchange).await?;
            }
            if exchange.is_over(phase) {
                break;
            }
        }
        Ok(())
    }

    async fn target(&self, pass: &Pass, target: &Target, exchange: &mut Exchange) -> Result<(), Lost> {
        let (point, plugin) = (target.point(), pass.slot().name());
        let call = exchange.call(point, target.handler(), target.body());
        match (self.call(point, pass, call, exchange).await?, target) {
            (Some(Reply::Next(next)), Target::Middleware(middleware)) => {
                exchange.change_request(plugin, &next.change.unwrap_or_default());
                if next.want_leave && !middleware.request_only {
                    let parked = Parked::new(pass, middleware.clone(), next.state, exchange);
                    exchange.parked.push(parked);
                }
            }
            (Some(reply), _) => exchange.take(point, plugin, reply),
            (None, _) => {}
        }
        Ok(())
    }
}
