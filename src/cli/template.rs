//! The part of Go's templates that people type after `--format`.
//!
//! Text with `{{.Field}}`, `{{.Field.Within}}`, `{{json .Field}}` and `{{.}}` in it, and `\t` and
//! `\n` for what the shell makes hard to write. A text is put in as it is, anything else as JSON.
//! Loops, conditions and functions are not here; `--format json` and `jq` do more.

use serde_json::Value;

use super::Complaint;

/// A template, ready to be filled in.
#[derive(Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    /// The fields on the way to a value, and whether it is put in as JSON.
    Field(Vec<String>, bool),
}

impl Template {
    /// Reads a template.
    pub(super) fn read(text: &str) -> Result<Self, Complaint> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let bad =
                || Complaint::text(format!("the template {text:?} has no end: }}}} is missing"));
            let (inside, after) = after.split_once("}}").ok_or_else(bad)?;
            if !before.is_empty() {
                parts.push(Part::Text(unescaped(before)));
            }
            parts.push(action(inside)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(unescaped(rest)));
        }
        Ok(Self { parts })
    }

    /// The template that is one field.
    pub(super) fn field(name: &str) -> Self {
        Self { parts: vec![Part::Field(vec![name.to_owned()], false)] }
    }

    /// The fields that it names, in order; of those within others, the outermost.
    pub(super) fn fields(&self) -> Vec<String> {
        let field = |part: &Part| match part {
            Part::Text(_) => None,
            Part::Field(path, _) => path.first().cloned(),
        };
        self.parts.iter().filter_map(field).collect()
    }

    /// Fills it in.
    pub(super) fn fill(&self, value: &Value) -> Result<String, Complaint> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Field(path, as_json) => {
                    let found = find(value, path)?;
                    match found {
                        Value::String(text) if !as_json => filled.push_str(text),
                        Value::Null
                        | Value::Bool(_)
                        | Value::Number(_)
                        | Value::String(_)
                        | Value::Array(_)
                        | Value::Object(_) => filled.push_str(&found.to_string()),
                    }
                }
            }
        }
        Ok(filled)
    }
}

fn find<'a>(value: &'a Value, path: &[String]) -> Result<&'a Value, Complaint> {
    let mut found = value;
    for field in path {
        found = found.get(field).ok_or_else(|| {
            let known = found.as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>());
            let help = known.map(|known| format!("the fields are {}", known.join(", ")));
            Complaint::text(format!("the template names a field {field:?}, which is not there"))
                .help(help)
        })?;
    }
    Ok(found)
}

fn action(text: &str) -> Result<Part, Complaint> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (path, as_json) = match words.as_slice() {
        [path] => (*path, false),
        ["json", path] => (*path, true),
        _ => ("", false),
    };
    let Some(path) = path.strip_prefix('.') else {
        let text = format!("the template's {{{{{text}}}}} is not understood");
        let help = "it may have {{.Field}}, {{.Field.Within}} and {{json .Field}}".to_owned();
        return Err(Complaint::text(text).help(Some(help)));
    };
    let path = path.split('.').filter(|field| !field.is_empty()).map(str::to_owned).collect();
    Ok(Part::Field(path, as_json))
}

fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_filled_in_or_refused() {
        let value = json!({"Name": "blue", "IPAM": {"Driver": "default"}, "Internal": false});
        let cases = [
            ("{{.Name}}", Some("blue")),
            ("<{{ .Name }}>", Some("<blue>")),
            ("{{.IPAM.Driver}}\\t{{.Internal}}", Some("default\tfalse")),
            ("{{json .IPAM}}", Some("{\"Driver\":\"default\"}")),
            (
                "{{json .}}",
                Some("{\"IPAM\":{\"Driver\":\"default\"},\"Internal\":false,\"Name\":\"blue\"}"),
            ),
            ("plain", Some("plain")),
            ("{{.Colour}}", None),
            ("{{.Name.Length}}", None),
            ("{{.Name", None),
            ("{{range .IPAM}}", None),
            ("{{Name}}", None),
        ];
        for (text, expected) in cases {
            let filled = Template::read(text).and_then(|template| template.fill(&value));
            assert_eq!(filled.ok().as_deref(), expected, "{text}");
        }
    }
}
