//! What plugins measure themselves, put together from all of them: one family a name. Pure.

use prometheus::proto::{MetricFamily, MetricType};
use std::collections::{BTreeMap, BTreeSet};

/// The families that can be shown together, and how many of each plugin cannot: a name has one type, and the series of a
/// histogram have names of their own that nothing else may have.
pub(super) fn merged<'a>(
    plugins: impl Iterator<Item = (&'a str, Vec<MetricFamily>)>,
) -> (Vec<MetricFamily>, BTreeMap<&'a str, u64>) {
    let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut left_out = BTreeMap::new();
    for (plugin, own) in plugins {
        let conflicts = left_out.entry(plugin).or_insert(0);
        for mut family in own {
            match families.get_mut(family.name()) {
                Some(known) if known.get_field_type() == family.get_field_type() => {
                    known.mut_metric().append(family.mut_metric());
                }
                None if names(&family).iter().all(|name| !taken.contains(name)) => {
                    taken.extend(names(&family));
                    families.insert(family.name().to_owned(), family);
                }
                _ => *conflicts += 1,
            }
        }
    }
    (families.into_values().collect(), left_out)
}

fn names(family: &MetricFamily) -> Vec<String> {
    let name = family.name();
    match family.get_field_type() {
        MetricType::HISTOGRAM => ["", "_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")).to_vec(),
        _ => vec![name.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Counter, Gauge, Histogram, HistogramOpts, Opts, core::Collector};

    fn counter(name: &str, plugin: &str) -> Vec<MetricFamily> {
        Counter::with_opts(Opts::new(name, "h").const_label("plugin", plugin)).unwrap().collect()
    }

    #[test]
    fn one_name_of_two_plugins_is_one_family() {
        let (families, left_out) = merged([("p", counter("x", "p")), ("q", counter("x", "q"))].into_iter());
        assert_eq!((families.len(), families[0].get_metric().len()), (1, 2));
        assert_eq!(left_out, BTreeMap::from([("p", 0), ("q", 0)]));
    }

    #[test]
    fn a_name_has_the_type_of_its_first_plugin() {
        let gauge = Gauge::with_opts(Opts::new("x", "h").const_label("plugin", "q")).unwrap().collect();
        let (families, left_out) = merged([("p", counter("x", "p")), ("q", gauge)].into_iter());
        assert_eq!((families.len(), left_out["q"]), (1, 1));
        let histogram = Histogram::with_opts(HistogramOpts::new("y", "h")).unwrap().collect();
        let (families, left_out) = merged([("p", histogram), ("q", counter("y_count", "q"))].into_iter());
        assert_eq!((families.len(), left_out["q"]), (1, 1));
    }
}
