//! `audit.schema.json` and `AUDIT.md`, made from the types. `WEIR_WRITE_SCHEMA=1 cargo test -p weir-api` writes them anew.

use std::fmt::Write;
use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{CutDetail, KINDS, Line, describe};

#[test]
fn the_committed_schema_is_what_the_types_give() {
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    expect_file("audit.schema.json", &text);
}

#[test]
fn the_committed_table_is_what_the_types_give() {
    expect_file("AUDIT.md", &table(&document()));
}

#[test]
fn every_kind_is_described_and_every_field_says_what_it_is() {
    let document = document();
    let kinds = document["$defs"]["details"].as_object().unwrap();
    assert_eq!(kinds.len(), KINDS.len());
    for (kind, detail) in kinds {
        assert!(detail["description"].is_string(), "{kind}");
        for (name, field) in detail["properties"].as_object().into_iter().flatten() {
            assert!(field["description"].is_string(), "{kind}.{name}");
        }
    }
}

fn expect_file(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("WEIR_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "{name} is not what the types give: WEIR_WRITE_SCHEMA=1 cargo test -p weir-api writes it anew"
    );
}

fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut generator = settings.into_generator();
    let mut line =
        serde_json::to_value(<Line<'_> as schemars::JsonSchema>::json_schema(&mut generator)).unwrap();
    let details: Map<String, Value> = describe(&mut generator)
        .into_iter()
        .map(|(kind, schema)| (kind.to_owned(), serde_json::to_value(schema).unwrap()))
        .collect();
    let cut = <CutDetail as schemars::JsonSchema>::json_schema(&mut generator);
    // A kind that is not known here has any detail: fields and kinds are added.
    let by_kind: Vec<_> = KINDS
        .iter()
        .map(|kind| {
            json!({
                "if": { "properties": { "kind": { "const": kind } } },
                "then": { "properties": { "detail": {
                    "anyOf": [{ "$ref": format!("#/$defs/details/{kind}") }, { "$ref": "#/$defs/cut" }],
                } } },
            })
        })
        .collect();
    let object = line.as_object_mut().unwrap();
    object.insert(
        "$schema".into(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    object.insert("title".into(), json!("Weir audit event"));
    object.insert("allOf".into(), by_kind.into());
    object.insert("$defs".into(), json!({ "details": details, "cut": cut }));
    line
}

fn table(document: &Value) -> String {
    let mut text = String::from(
        "# Audit events\n\nMade from the types in `src/audit`; `audit.schema.json` says the same to programs, and `weir audit schema` prints it.\n\
         One JSON object per event; two with one `id` are the same event. Fields and kinds are only ever added.\n\n",
    );
    fields(&mut text, document);
    let cut = &document["$defs"]["cut"];
    writeln!(text, "\n{}\n", words(cut)).unwrap();
    fields(&mut text, cut);
    for kind in KINDS {
        let detail = &document["$defs"]["details"][kind];
        writeln!(text, "\n## {kind}\n\n{}\n", words(detail)).unwrap();
        fields(&mut text, detail);
    }
    text
}

fn fields(text: &mut String, of: &Value) {
    let required = of["required"].as_array().cloned().unwrap_or_default();
    text.push_str("| field | type | meaning |\n|---|---|---|\n");
    for (name, field) in of["properties"].as_object().into_iter().flatten() {
        let may_lack = if required.iter().any(|it| it == name) {
            ""
        } else {
            ", optional"
        };
        writeln!(
            text,
            "| `{name}` | {}{may_lack} | {} |",
            form(field),
            words(field)
        )
        .unwrap();
    }
}

fn form(field: &Value) -> String {
    if let Some(of) = field["type"].as_array() {
        let names: Vec<_> = of
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| *name != "null")
            .collect();
        return names.join(" or ");
    }
    if field["type"] == "array" {
        return format!("array of {}", form(&field["items"]));
    }
    if let Some(values) = field["oneOf"].as_array().or(field["enum"].as_array()) {
        let values: Vec<_> = values
            .iter()
            .flat_map(|value| match (&value["const"], value["enum"].as_array()) {
                (_, Some(several)) => several.clone(),
                (Value::Null, None) => vec![value.clone()],
                (one, None) => vec![one.clone()],
            })
            .map(|value| format!("`{value}`"))
            .collect();
        return values.join(", ");
    }
    if let Some(of) = field["anyOf"].as_array() {
        return form(&of[0]);
    }
    if let Some(of) = field["properties"].as_object() {
        let names: Vec<_> = of.keys().map(|name| format!("`{name}`")).collect();
        return format!("object of {}", names.join(", "));
    }
    field["type"].as_str().unwrap_or("any").to_owned()
}

fn words(of: &Value) -> String {
    of["description"].as_str().unwrap_or_default().replace('\n', " ")
}
