//! A method with its parameters, ready for one destination after the other.

use std::{collections::BTreeMap, net::IpAddr, ops::Range, sync::Arc};

use serde_json::{Map, Value as Json};
use sonde_engine::Params;
use sonde_plugin_api::{
    descriptor::{ParamError, RowWriter},
    json,
    packet::Family,
    schema::{Value, to_vec},
};

use crate::Offer;

/// A method with all its parameters but the destination.
#[derive(Clone, Debug)]
pub struct Prepared {
    offer: Offer,
    given: BTreeMap<String, Value>,
    /// Made when the first destination of the family comes.
    families: [Option<Arc<Plan>>; 2],
}

/// What all measurements of one kind share.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) offer: Offer,
    /// For the record, without the destination.
    pub(crate) parameters: Map<String, Json>,
    /// The record from its beginning to the measurement's own part, and the parameters.
    pub(crate) head: Box<[u8]>,
    pub(crate) parameters_json: Box<[u8]>,
    /// In the order of the tables.
    pub(crate) writers: Vec<RowWriter>,
    /// Table and column of the method's own count of answers.
    pub(crate) answered: Option<(u8, usize)>,
    /// All parameters, encoded, and where the destination is among them.
    encoded: Arc<[u8]>,
    destination_at: Option<Range<usize>>,
}

impl Prepared {
    /// `parameters` by flag name; defaults stand for the others.
    #[must_use]
    pub fn new(offer: Offer, parameters: BTreeMap<String, Value>) -> Self {
        Self { offer, given: parameters, families: [None, None] }
    }

    /// The method.
    #[must_use]
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The parameters of a measurement of a destination, by flag name, as they stand in its record.
    ///
    /// # Errors
    ///
    /// Where a parameter is unknown or not acceptable.
    pub fn parameters(&mut self, destination: IpAddr) -> Result<Map<String, Json>, ParamError> {
        self.plan(destination).map(|plan| plan.parameters.clone())
    }

    /// For one destination.
    ///
    /// # Errors
    ///
    /// Where a parameter is unknown or not acceptable.
    pub(crate) fn plan(&mut self, destination: IpAddr) -> Result<&Arc<Plan>, ParamError> {
        let family = Family::of(destination);
        let known = &mut self.families[usize::from(family == Family::V6)];
        if known.is_none() {
            let mut given = self.given.clone();
            if let Some(target) = self.offer.target() {
                given.insert(target.name.clone(), Value::Ip(destination));
            }
            let values = self.offer.method().values(&given, family)?;
            *known = Some(Arc::new(Plan::new(self.offer.clone(), &values)));
        }
        Ok(known.as_ref().expect("it was made just before"))
    }
}

impl Plan {
    fn new(offer: Offer, values: &[Value]) -> Self {
        let (method, target) = (offer.method(), offer.target_index());
        let octets =
            |values: &[Value]| to_vec(|arena| values.iter().for_each(|value| value.encode(arena)));
        let destination_at = target.map(|target| {
            let begin = octets(&values[..target]).len();
            begin..begin + octets(&values[target..=target]).len()
        });
        let used = method.parameters.iter().zip(values).enumerate();
        let used = used.filter(|(index, (_, value))| Some(*index) != target && !value.is_none());
        let parameters: Map<_, _> =
            used.map(|(_, (parameter, value))| (parameter.name.clone(), value.to_json())).collect();
        let answered = method
            .table("summary")
            .and_then(|(index, table)| Some((index, table.column("answered")?)));
        let (mut head, mut parameters_json) = (Vec::new(), Vec::new());
        head.extend_from_slice(b"{\"record\":1,\"method\":");
        json::put_text(&method.name, &mut head);
        head.extend_from_slice(b",\"version\":");
        json::put_text(offer.version(), &mut head);
        json::put(&parameters, &mut parameters_json);
        Self {
            parameters,
            head: head.into_boxed_slice(),
            parameters_json: parameters_json.into_boxed_slice(),
            writers: method.tables.iter().map(RowWriter::new).collect(),
            answered,
            encoded: octets(values).into(),
            destination_at,
            offer,
        }
    }

    /// The parameters of a measurement of `destination`.
    pub(crate) fn params(&self, destination: IpAddr) -> Params {
        let shared = Arc::clone(&self.encoded);
        match &self.destination_at {
            Some(at) => {
                let (own, octets) = Value::encoded_address(destination);
                Params::with(shared, at.clone(), &own[..octets])
            }
            None => Params::new(shared),
        }
    }
}
