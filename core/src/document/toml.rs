//! TOML with places. Pure.

use super::{Content, DocumentError, Lines, Node};
use serde_json::Number;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

pub(super) fn parse(text: &str) -> Result<Node, DocumentError> {
    let lines = Lines::new(text);
    match DeTable::parse(text) {
        Ok(table) => Reader { lines }.map(0..0, table.get_ref()),
        Err(error) => {
            let place = error.span().map(|span| lines.place(span.start));
            Err(DocumentError::Syntax { place, message: error.message().to_owned() })
        }
    }
}

struct Reader<'a> {
    lines: Lines<'a>,
}

impl Reader<'_> {
    fn node(&self, span: Range<usize>, value: &DeValue<'_>) -> Result<Node, DocumentError> {
        let content = match value {
            DeValue::Table(table) => return self.map(span, table),
            DeValue::Array(items) => {
                let nodes = items.iter().map(|item| self.node(item.span(), item.get_ref()));
                Content::List(nodes.collect::<Result<_, _>>()?)
            }
            DeValue::String(text) => Content::String(text.to_string()),
            DeValue::Boolean(flag) => Content::Bool(*flag),
            DeValue::Datetime(moment) => Content::String(moment.to_string()),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
                Content::Number(self.number(&span, parsed.map(Number::from))?)
            }
            DeValue::Float(number) => {
                let parsed = number.as_str().parse().ok().and_then(Number::from_f64);
                Content::Number(self.number(&span, parsed)?)
            }
        };
        Ok(Node { place: Some(self.lines.place(span.start)), content })
    }

    fn map(&self, span: Range<usize>, table: &DeTable<'_>) -> Result<Node, DocumentError> {
        let fields =
            table.iter().map(|(key, value)| Ok((key.get_ref().to_string(), self.node(value.span(), value.get_ref())?)));
        let fields = fields.collect::<Result<_, _>>()?;
        Ok(Node { place: Some(self.lines.place(span.start)), content: Content::Map(fields) })
    }

    fn number(&self, span: &Range<usize>, number: Option<Number>) -> Result<Number, DocumentError> {
        let place = Some(self.lines.place(span.start));
        number.ok_or_else(|| DocumentError::Syntax { place, message: "number out of range".to_owned() })
    }
}
