//! The CustomResourceDefinitions as YAML, the same text each time. Pure.

use crate::{Plugin, PluginHost};
use kube::CustomResourceExt;
use serde_json::Value;

const HEADER: &str = "# Generated from crds/src: `just gen`.\n";

/// File name and text of each definition.
pub fn files() -> Result<[(&'static str, String); 2], serde_yaml::Error> {
    Ok([("plugins.yaml", text::<Plugin>()?), ("pluginhosts.yaml", text::<PluginHost>()?)])
}

/// The same as templates of the chart.
pub fn templates() -> Result<[(&'static str, String); 2], serde_yaml::Error> {
    let conditional = |(name, text)| (name, format!("{{{{- if .Values.crds.install }}}}\n{text}{{{{- end }}}}\n"));
    Ok(files()?.map(conditional))
}

/// A chart that is removed takes neither the definitions nor the resources with it.
fn text<K: CustomResourceExt>() -> Result<String, serde_yaml::Error> {
    let mut definition = K::crd();
    let keep = ("helm.sh/resource-policy".into(), "keep".into());
    definition.metadata.annotations.get_or_insert_default().extend([keep]);
    let mut definition = serde_yaml::to_value(definition).and_then(serde_yaml::from_value)?;
    forbid_null(&mut definition);
    Ok(format!("{HEADER}{}", serde_yaml::to_string(&definition)?))
}

/// The API server drops a null where the schema does not allow it, so that `has(self.x)` in a rule means a value.
fn forbid_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("nullable") == Some(&Value::Bool(true)) {
                map.remove("nullable");
            }
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            map.values_mut().for_each(forbid_null);
        }
        Value::Array(list) => list.iter_mut().for_each(forbid_null),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Lists the properties below a schema that have no description.
    fn undescribed(schema: &Value, path: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            found.extend(undescribed(property, &path));
            if property["description"].as_str().is_none_or(str::is_empty) {
                found.push(path);
            }
        }
        found.extend(undescribed_of(&schema["items"], path));
        found.extend(undescribed_of(&schema["additionalProperties"], path));
        found
    }

    fn undescribed_of(nested: &Value, path: &str) -> Vec<String> {
        if nested.is_object() { undescribed(nested, &format!("{path}[]")) } else { vec![] }
    }

    #[test]
    fn every_property_says_what_it_is() {
        let schema = |text: String| {
            let definition: Value = serde_yaml::from_str(&text).unwrap();
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
        };
        for (kind, text) in [("Plugin", text::<Plugin>()), ("PluginHost", text::<PluginHost>())] {
            assert_eq!(undescribed(&schema(text.unwrap()), kind), Vec::<String>::new());
        }
    }
}
