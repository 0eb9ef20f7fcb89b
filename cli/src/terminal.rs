//! How this program looks: colours only on a terminal, errors as one sentence with its causes. Writes to the standard error.

use std::{
    fmt::Display,
    io::{IsTerminal, stderr, stdout},
    process::ExitCode,
};

/// The exit code of a command that could not do its work, as for a wrong command line.
const UNUSABLE: u8 = 2;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    Red,
    Yellow,
    Green,
    Bold,
    Dim,
    Plain,
}

/// Paints text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    pub(crate) fn for_stdout() -> Self {
        Self { on: stdout().is_terminal() && allowed() }
    }

    pub(crate) fn for_stderr() -> Self {
        Self { on: stderr().is_terminal() && allowed() }
    }

    pub(crate) fn apply(self, colour: Colour, text: impl Display) -> String {
        if !self.on {
            return text.to_string();
        }
        let code = match colour {
            Colour::Red => "31",
            Colour::Yellow => "33",
            Colour::Green => "32",
            Colour::Bold => "1",
            Colour::Dim => "2",
            Colour::Plain => return text.to_string(),
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The convention of <https://no-color.org>, and terminals that know no colours.
fn allowed() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Prints an error with its causes.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("{} {error:#}", Paint::for_stderr().apply(Colour::Red, "error:"));
    ExitCode::from(UNUSABLE)
}

/// Prints what is to be known beside an error.
pub(crate) fn inform(text: &str) {
    eprintln!("{} {text}", Paint::for_stderr().apply(Colour::Green, "info:"));
}

/// A line that replaces itself on a terminal; elsewhere only the last one is written.
pub(crate) fn progress(text: &str, last: bool) {
    match (stderr().is_terminal(), last) {
        (true, true) => eprintln!("\r\x1b[K{text}"),
        (true, false) => eprint!("\r\x1b[K{text}"),
        (false, true) => eprintln!("{text}"),
        (false, false) => {}
    }
}
