//! The generated YAML, one document a kind.

use kube::CustomResourceExt;

/// File name and YAML of every custom resource definition.
pub fn all() -> Result<Vec<(String, String)>, serde_norway::Error> {
    let rollout = crate::rollout::Rollout::crd();
    [rollout]
        .iter()
        .map(|crd| {
            Ok((
                format!("{}.yaml", crd.spec.names.plural),
                serde_norway::to_string(crd)?,
            ))
        })
        .collect()
}
