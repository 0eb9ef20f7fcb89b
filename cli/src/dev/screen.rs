//! Shows a session until it is stopped: a table that stays in place on a terminal, lines elsewhere. Writes to the
//! standard output.

use super::{
    children::Exited,
    session::Session,
    table::{Row, rows, table},
};
use crate::terminal::{Colour, Paint};
use anyhow::{Result, bail};
use rockstar_operator::dev::{Event, Snapshot};
use rustix::termios::tcgetwinsize;
use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, stdout},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// Changes come in bursts; more often than this nobody reads.
const PACE: Duration = Duration::from_millis(100);
/// So many events stay on the screen.
const EVENTS: usize = 8;

pub(super) async fn show(
    session: &Session,
    mut exited: mpsc::Receiver<Exited>,
    stopped: impl Future<Output = ()>,
) -> Result<()> {
    introduce(session);
    let mut view = View::new();
    let mut changes = session.changes();
    tokio::pin!(stopped);
    loop {
        view.draw(&session.snapshot());
        let next = Instant::now() + PACE;
        tokio::select! {
            () = &mut stopped => return Ok(()),
            Some(exit) = exited.recv() => bail!("{} ended by itself, {}; its log:\n{}", exit.name, exit.status, tail(&exit)),
            Ok(()) = changes.changed() => {}
            else => bail!("the operator has ended"),
        }
        sleep_until(next).await;
    }
}

/// The last lines of its log: the file goes with the session.
pub(super) fn tail(exit: &Exited) -> String {
    let text = std::fs::read_to_string(&exit.log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

fn introduce(session: &Session) {
    let paint = Paint::for_stdout();
    for instance in &session.instances {
        println!("{}  http://{}  (sidecar: http://{}/metrics)", instance.name, instance.app, instance.admin);
    }
    println!("logs: {}", session.directory().display());
    if let Some(first) = session.instances.first() {
        println!(
            "try:  {}",
            paint
                .apply(Colour::Bold, format!("curl -i -H 'authorization: Bearer me' http://{}/hello/world", first.app))
        );
    }
    println!();
}

/// What was shown last.
struct View {
    paint: Paint,
    terminal: bool,
    /// Lines on the terminal that the next table replaces.
    height: usize,
    rows: BTreeMap<String, Row>,
    told: Vec<String>,
}

impl View {
    fn new() -> Self {
        Self {
            paint: Paint::for_stdout(),
            terminal: stdout().is_terminal(),
            height: 0,
            rows: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    fn draw(&mut self, snapshot: &Snapshot) {
        if self.terminal { self.redraw(snapshot) } else { self.tell(snapshot) }
    }

    fn redraw(&mut self, snapshot: &Snapshot) {
        let (width, height) =
            tcgetwinsize(stdout()).map_or((usize::MAX, usize::MAX), |size| (size.ws_col.into(), size.ws_row.into()));
        let mut lines = self.lines(snapshot, width);
        // What has scrolled out of sight cannot be replaced.
        lines.truncate(height.saturating_sub(1).max(1));
        let up = if self.height > 0 { format!("\x1b[{}A", self.height) } else { String::new() };
        println!("{up}\x1b[J{}", lines.join("\n"));
        self.height = lines.len();
    }

    /// The table, then what needs a look, then what happened last.
    fn lines(&self, snapshot: &Snapshot, width: usize) -> Vec<String> {
        let colour = |index| if index == 0 { Colour::Dim } else { Colour::Plain };
        let table = table(&rows(snapshot));
        let rows = table.iter().enumerate().map(|(index, line)| self.paint.apply(colour(index), cut(line, width)));
        let problems = snapshot.problems.iter().map(|problem| self.painted(true, &cut(&problem.to_string(), width)));
        let events = &snapshot.events[snapshot.events.len().saturating_sub(EVENTS)..];
        let events = events.iter().map(|event| self.painted(event.warning, &cut(&sentence(event), width)));
        rows.chain([String::new()]).chain(problems).chain(events).collect()
    }

    fn painted(&self, warning: bool, text: &str) -> String {
        self.paint.apply(if warning { Colour::Yellow } else { Colour::Plain }, text)
    }

    /// Only what is new.
    fn tell(&mut self, snapshot: &Snapshot) {
        let rows = rows(snapshot).into_iter().map(|row| (row.plugin.clone(), row)).collect::<BTreeMap<_, _>>();
        for row in rows.values().filter(|row| self.rows.get(&row.plugin) != Some(row)) {
            println!("{}", row.sentence());
        }
        for gone in self.rows.keys().filter(|plugin| !rows.contains_key(*plugin)) {
            println!("{gone} is gone");
        }
        self.rows = rows;
        let events = snapshot.events.iter().map(sentence);
        let lines: Vec<_> = events.chain(snapshot.problems.iter().map(ToString::to_string)).collect();
        for line in lines.iter().filter(|line| !self.told.contains(line)) {
            println!("{line}");
        }
        self.told = lines;
    }
}

fn sentence(event: &Event) -> String {
    format!("{} {} {}: {}", event.at.strftime("%H:%M:%S"), event.about, event.reason, event.text)
}

fn cut(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}
