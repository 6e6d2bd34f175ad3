//! Which tables of a method are a graph, so that it can be drawn by programs that do not know the method.

use serde::{Deserialize, Serialize};

/// A graph: its links are rows of one table, parts of it rows of another.
///
/// Nodes are what the links name. One whose text holds `*` is somebody unknown, and so not the same as
/// that of another measurement; within one measurement `from_id` and `to_id` tell such nodes apart.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct GraphForm {
    /// The table of the links.
    pub links: String,
    /// Its column with the text of the node that a link begins at.
    pub from: String,
    /// Its column with the text of the node that a link ends at.
    pub to: String,
    /// Its column with the number of the node `from`; empty where there is none.
    #[serde(default)]
    pub from_id: String,
    /// As `from_id`.
    #[serde(default)]
    pub to_id: String,
    /// What is written beside a link, with gaps as in [`crate::text_form`].
    #[serde(default)]
    pub label: String,
    /// What lies between two nodes and is shown as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<GraphParts>,
}

/// Parts of a graph: everything between two nodes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct GraphParts {
    /// The table of the parts.
    pub table: String,
    /// Its column with the text of the node in front.
    pub begin: String,
    /// Its column with the text of the node behind; null where there is none.
    pub end: String,
    /// What is written beside a part, with gaps.
    #[serde(default)]
    pub label: String,
}
