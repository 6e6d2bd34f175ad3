//! The JSON Schema of a method's result record.

use serde_json::{Map, Value as Json, json};

use super::{Column, MethodDescriptor, Parameter, Shape, Type};

pub(super) fn schema(method: &MethodDescriptor) -> Json {
    let tables: Map<String, Json> = method
        .tables
        .iter()
        .map(|table| {
            let rows = json!({
                "type": "array",
                "description": table.doc,
                "items": columns(&table.columns),
            });
            (table.name.clone(), rows)
        })
        .collect();
    let table_names: Vec<&String> = tables.keys().collect();
    let parameters: Map<String, Json> = method
        .parameters
        .iter()
        .map(|parameter| (parameter.name.clone(), self::parameter(parameter)))
        .collect();
    let count = || json!({"type": "integer", "minimum": 0});
    let stamp = || json!({"type": ["string", "null"], "description": "which clock stamped"});
    let time = || json!({"type": "string", "format": "date-time"});
    let address = || json!({"type": ["string", "null"], "description": "IPv4 or IPv6 address"});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("record of one {} measurement", method.name),
        "description": method.doc,
        "type": "object",
        "properties": {
            "record": {"const": 1},
            "method": {"const": method.name},
            "version": {"type": "string", "description": "of the plugin"},
            "id": {"type": "string"},
            "source": address(),
            "destination": address(),
            "start": time(),
            "end": time(),
            "status": {"enum": ["done", "interrupted", "failed", "refused"]},
            "stop": {"type": ["string", "null"], "description": "why the method stopped"},
            "error": {"type": ["string", "null"]},
            "target": {
                "type": "string",
                "description": "what was asked for, as it was written; not there where that is \
                                the destination",
            },
            "names": {
                "type": "object",
                "description": "names of addresses, where they were asked for",
                "additionalProperties": {"type": "string"},
            },
            "parameters": {"type": "object", "properties": parameters},
            "counters": {
                "type": "object",
                "properties": {
                    "sent": count(),
                    "not_sent": count(),
                    "answered": count(),
                    "errors": count(),
                    "late": count(),
                    "duplicates": count(),
                    "not_sent_reasons": {
                        "type": "object",
                        "description": "how many were not sent for which reason; not there where all were sent",
                        "additionalProperties": {"type": "integer", "minimum": 1},
                    },
                    "host_drops": {
                        "type": "integer",
                        "minimum": 1,
                        "description": "packets that this host lost on their way in during the \
                                        measurement, answers perhaps; not there where none were",
                    },
                },
                "required": ["sent", "not_sent", "answered", "late", "duplicates"],
            },
            "clock": {
                "type": "object",
                "properties": {
                    "tx": stamp(),
                    "rx": stamp(),
                    "steps": {
                        "type": "array",
                        "description": "times that the wall clock was set during the measurement; \
                                        differences of times are not changed by it",
                        "items": {
                            "type": "object",
                            "properties": {
                                "time": {
                                    "type": "string",
                                    "format": "date-time",
                                    "description": "when it was noticed, as the clock is since",
                                },
                                "step_us": {
                                    "type": "integer",
                                    "description": "by how much; forwards where positive",
                                },
                            },
                            "required": ["time", "step_us"],
                        },
                    },
                },
            },
            "tables": {"type": "object", "properties": tables, "required": table_names},
        },
        "required": [
            "record", "method", "version", "id", "start", "end", "status", "parameters",
            "counters", "tables",
        ],
    })
}

/// An object with an entry for every column.
fn columns(columns: &[Column]) -> Json {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let properties: Map<String, Json> =
        columns.iter().map(|column| (column.name.clone(), self::column(column))).collect();
    json!({"type": "object", "properties": properties, "required": names})
}

fn column(column: &Column) -> Json {
    described(shape(&column.shape), column.nullable, &column.doc, &column.unit)
}

fn parameter(parameter: &Parameter) -> Json {
    let mut schema = shape(&parameter.shape);
    let is_number = matches!(parameter.shape.kind, Type::Natural | Type::Integer | Type::Real);
    if let Json::Object(members) = &mut schema {
        for (name, bound) in [("minimum", &parameter.min), ("maximum", &parameter.max)] {
            if let Some(bound) = bound.as_ref().filter(|_| is_number) {
                members.insert(name.to_owned(), bound.clone());
            }
        }
        if let Some(default) = &parameter.default {
            members.insert("default".to_owned(), default.clone());
        }
    }
    // one without a value is left out
    described(schema, false, &parameter.doc, &parameter.unit)
}

fn described(mut schema: Json, nullable: bool, doc: &str, unit: &str) -> Json {
    let Json::Object(members) = &mut schema else { return schema };
    if nullable {
        if let Some(kind) = members.get_mut("type") {
            *kind = json!([kind.take(), "null"]);
        }
        if let Some(Json::Array(choices)) = members.get_mut("enum") {
            choices.push(Json::Null);
        }
    }
    let text = match (doc, unit) {
        (doc, "") => doc.to_owned(),
        ("", unit) => format!("in {unit}"),
        (doc, unit) => format!("{doc} In {unit}."),
    };
    if !text.is_empty() {
        members.insert("description".to_owned(), Json::String(text));
    }
    schema
}

fn shape(shape: &Shape) -> Json {
    match shape.kind {
        Type::Boolean => json!({"type": "boolean"}),
        Type::Natural => numbers(shape, json!({"type": "integer", "minimum": 0})),
        Type::Integer => numbers(shape, json!({"type": "integer"})),
        Type::Real => json!({"type": "number"}),
        Type::String if !shape.choices.is_empty() => {
            json!({"type": "string", "enum": shape.choices})
        }
        Type::String | Type::Address => json!({"type": "string"}),
        Type::Time => json!({"type": "string", "format": "date-time"}),
        Type::Duration => json!({"type": "string", "pattern": "^[0-9]+(d|h|m|s|ms|us|ns)$"}),
        Type::Hex => json!({"type": "string", "pattern": "^([0-9a-f]{2})*$"}),
        Type::List => match shape.items {
            Some(Type::List) | None => json!({"type": "array"}),
            Some(_) => json!({"type": "array", "items": self::shape(&shape.scalar())}),
        },
        Type::Map => columns(&shape.fields),
    }
}

fn numbers(shape: &Shape, mut schema: Json) -> Json {
    let choices: Vec<i64> = shape.choices.iter().filter_map(|choice| choice.parse().ok()).collect();
    if let (false, Json::Object(members)) = (choices.is_empty(), &mut schema) {
        members.insert("enum".to_owned(), json!(choices));
    }
    schema
}
