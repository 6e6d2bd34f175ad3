//! How a method is offered that does not say otherwise.

use super::Method;
use crate::{capability::Capability, params::Params, row::Rows};

/// One capability with every parameter and every column of the first table; none for a method
/// without tables. What has no mPlane element goes by `sonde.METHOD.COLUMN`.
pub(super) fn full_view<M: Method>() -> Vec<Capability> {
    let tables = M::Row::tables();
    let Some(table) = tables.first() else { return Vec::new() };
    let mut view = Capability::new(&format!("{}-full-{{ip}}", M::NAME)).table(&table.name);
    let parameters = M::Params::parameters();
    // Those of the temporal scope are said there.
    for parameter in parameters.iter().filter(|each| !each.element.starts_with("when.")) {
        view = view.parameter(&parameter.element, parameter.constraint());
    }
    for column in &table.columns {
        let own = format!("sonde.{}.{}", M::NAME, column.name);
        let element = if column.element.is_empty() { &own } else { &column.element };
        view = view.column(element, &column.name);
    }
    vec![view]
}
