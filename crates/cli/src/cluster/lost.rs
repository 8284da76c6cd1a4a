//! What may have been meant by a name that is not there.

use kube::api::{Api, ListParams};
use pointsman_api::rollout::Rollout;

use super::Cluster;
use crate::error::Error;

const LIKENESS_MIN: f64 = 0.85;
const SHOWN_MAX: usize = 3;

impl Cluster {
    /// Why there is no rollout of that name. Looks around once; a look that is refused is no error of its own.
    pub(super) async fn lost(&self, name: &str) -> Error {
        // A missing definition answers an object by name just like a missing object does; a list tells them apart.
        let names = match self.names().await {
            Err(error @ Error::NoDefinition) => return error,
            Err(_) => Vec::new(),
            Ok(names) => names,
        };
        let close = close(name, &names);
        let hint = if close.is_empty() {
            self.elsewhere(name).await
        } else {
            Some(format!("did you mean {}?", close.join(" or ")))
        };
        Error::NotFound {
            name: name.to_owned(),
            namespace: self.namespace.clone(),
            hint: hint.unwrap_or_else(|| format!("list them: kubectl pointsman list -n {}", self.namespace)),
        }
    }

    async fn elsewhere(&self, name: &str) -> Option<String> {
        let all: Api<Rollout> = Api::all(self.client.clone());
        let same = ListParams::default()
            .fields(&format!("metadata.name={name}"))
            .limit(20);
        let found = self.call(all.list_metadata(&same)).await.ok()?;
        let places: Vec<String> = found
            .items
            .into_iter()
            .filter_map(|found| found.metadata.namespace)
            .take(SHOWN_MAX)
            .map(|namespace| format!("-n {namespace}"))
            .collect();
        (!places.is_empty()).then(|| format!("there is one with {}", places.join(" or ")))
    }
}

/// Names that are nearly the one that was written, best first.
fn close(name: &str, names: &[String]) -> Vec<String> {
    let mut close: Vec<(f64, &String)> = names
        .iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .collect();
    close.sort_by(|one, other| other.0.total_cmp(&one.0));
    close
        .into_iter()
        .take(SHOWN_MAX)
        .map(|(_, known)| known.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_that_are_nearly_right_are_offered() {
        let names = ["chat", "chart-room", "billing"].map(str::to_owned);
        assert_eq!(super::close("chta", &names), ["chat"]);
        assert!(super::close("xyz", &names).is_empty());
    }
}
