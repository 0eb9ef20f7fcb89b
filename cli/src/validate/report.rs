//! The result for people, one line a finding as compilers print it, or as JSON for programs. Writes to the standard output.

use super::{
    Report,
    document::Checked,
    finding::{Finding, Severity},
};
use crate::{
    args::Output,
    terminal::{Colour, Paint},
};
use std::path::Path;

pub(super) fn print(reports: &[Report], output: Output) -> serde_json::Result<()> {
    match output {
        Output::Json => print_json(reports),
        Output::Text => {
            print_text(reports);
            Ok(())
        }
    }
}

fn print_json(reports: &[Report]) -> serde_json::Result<()> {
    let valid = reports.iter().all(Report::is_valid);
    println!("{}", serde_json::to_string_pretty(&serde_json::json!({"valid": valid, "files": reports}))?);
    Ok(())
}

fn print_text(reports: &[Report]) {
    let paint = Paint::for_stdout();
    for report in reports {
        for document in &report.documents {
            print_document(paint, &report.file, document);
        }
    }
}

fn print_document(paint: Paint, file: &Path, document: &Checked) {
    for finding in &document.findings {
        println!("{}", line(paint, file, finding));
    }
    let verdict = match document.is_valid() {
        true => paint.apply(Colour::Green, "valid"),
        false => paint.apply(Colour::Red, "invalid"),
    };
    println!("{}: {} {verdict}", file.display(), document.what);
}

/// `FILE:LINE:COLUMN: error: FIELD: MESSAGE`, without what is not known.
fn line(paint: Paint, file: &Path, finding: &Finding) -> String {
    let place = finding.place.map(|place| format!("{}:{}:", place.line, place.column)).unwrap_or_default();
    let severity = match finding.severity {
        Severity::Error => paint.apply(Colour::Red, "error:"),
        Severity::Warning => paint.apply(Colour::Yellow, "warning:"),
    };
    let field = if finding.field.is_empty() { String::new() } else { format!("{}: ", finding.field) };
    format!("{}:{place} {severity} {field}{}", file.display(), finding.message)
}
